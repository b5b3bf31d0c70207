/* For cppcheck alone, which does not read uthash.h and utlist.h: the macros that are loops. */
#define HASH_ITER(hh, head, el, tmp) \
	for ((el) = (head), (tmp) = (el) ? (el)->hh.next : NULL; (el); (el) = (tmp), (tmp) = (el) ? (el)->hh.next : NULL)
#define DL_FOREACH(head, el) for ((el) = (head); (el); (el) = (el)->next)

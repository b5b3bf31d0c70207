/* For cppcheck alone, which does not read uthash.h: the one macro that is a loop. */
#define HASH_ITER(hh, head, el, tmp) \
	for ((el) = (head), (tmp) = (el) ? (el)->hh.next : NULL; (el); (el) = (tmp), (tmp) = (el) ? (el)->hh.next : NULL)

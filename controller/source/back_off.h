/* How long to wait after failures, and by chance how much less: many controllers shall not come back all at once. */
#ifndef HATCHWAY_SOURCE_BACK_OFF_H
#define HATCHWAY_SOURCE_BACK_OFF_H

#include <stdint.h>

uint64_t random_number(void);
/* first_ms after the first failure, twice as long after each further one, at most max_ms. */
uint64_t back_off(unsigned failures, uint64_t first_ms, uint64_t max_ms);
/* Half to full of ms. */
uint64_t back_off_jitter(uint64_t ms);

#endif

#include "controller/source/back_off.h"

#include "hatchway/base/bug.h"

#include <uv.h>

uint64_t random_number(void)
{
	uint64_t number;
	BUG_ON(uv_random(NULL, NULL, &number, sizeof(number), 0, NULL));
	return number;
}

uint64_t back_off(unsigned failures, uint64_t first_ms, uint64_t max_ms)
{
	uint64_t ms = first_ms;
	for (unsigned i = 1; i < failures && ms < max_ms; i++)
		ms *= 2;
	return ms < max_ms ? ms : max_ms;
}

uint64_t back_off_jitter(uint64_t ms)
{
	return ms / 2 + random_number() % (ms / 2 + 1);
}

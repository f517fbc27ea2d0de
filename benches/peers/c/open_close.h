/* One descriptor is registered and unregistered, over and over, beside another that stays; each half with a turn of the loop after it, or
   without. */
#ifndef OPEN_CLOSE_H
#define OPEN_CLOSE_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline void open_close_die(const char *what)
{
	perror(what);
	abort();
}
#endif

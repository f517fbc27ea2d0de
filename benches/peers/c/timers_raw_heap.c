#define HEAP
#define EXPORT(name) timers_raw_heap_##name
#include "timers_raw.h"

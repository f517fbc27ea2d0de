#define LAZY
#define EXPORT(name) timers_raw_lazy_##name
#include "timers_raw.h"

#define WHEEL
#define EXPORT(name) timers_raw_wheel_##name
#include "timers_raw.h"

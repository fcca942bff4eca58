/* The same, statically linked. */
#include "vfio.c"

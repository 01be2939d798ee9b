/*
 * What this process may do. Any thread; no state.
 */
#ifndef VMM_RIGHTS_H
#define VMM_RIGHTS_H

#include <stdbool.h>

/* Whether a capability (CAP_NET_ADMIN, …) is in effect for the calling thread. It says nothing
 * about objects of another user namespace: those can still refuse with EPERM. */
bool rights_have(unsigned cap);

#endif

/* wait.h - waiting for what another thread does. No test asserts that something was fast: the limit only ends a test
 * that would hang. */
#ifndef TKS_TESTS_SUPPORT_WAIT_H
#define TKS_TESTS_SUPPORT_WAIT_H

#include <stdbool.h>

#define WAIT_LIMIT_S 60

/* Asks until the answer is true, for at most WAIT_LIMIT_S; returns the last answer. */
bool wait_until(bool (*condition)(void *context), void *context);

/* Lets other threads run for about so long. For what must not happen: a slow machine sees less of it, never too much. */
void linger_ms(unsigned ms);

#endif

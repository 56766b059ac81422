#include "base/forks.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

/* What tks__forks_open answers in a child, and in a child of that. */
static void expect_in_children(bool want) {
  pid_t child = fork();
  cr_assert_geq(child, 0);
  if (child == 0) {
    bool fine = tks__forks_open() == want;
    if (want) tks__forks_close();
    pid_t grandchild = fork();
    if (grandchild == 0) _exit(tks__forks_open() == want ? 0 : 2);
    int status;
    _exit(fine && waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d", status);
}

Test(forks, only_children_of_a_process_with_an_open_store_are_refused) {
  expect_in_children(true);
  for (int round = 0; round < 2; round++) {
    cr_assert(tks__forks_open());
    expect_in_children(false);
    cr_assert(tks__forks_open());
    tks__forks_close();
    expect_in_children(false); /* one of two is still open */
    tks__forks_close();
    expect_in_children(true);
  }
}

// A pseudo-terminal of the test's own: `user` is the end where keys are pressed, `terminal` what a
// program has as its standard input.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <termios.h>

#include "base/unique_fd.h"

namespace hull::testing {

struct PseudoTerminal {
  PseudoTerminal() {
    user.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    EXPECT_EQ(::grantpt(user.get()), 0);
    EXPECT_EQ(::unlockpt(user.get()), 0);
    terminal.reset(::open(::ptsname(user.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_TRUE(terminal.valid());
  }

  // Line editing and echo, as a shell leaves it.
  bool is_cooked() const {
    termios settings;
    EXPECT_EQ(::tcgetattr(terminal.get(), &settings), 0);
    return (settings.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG);
  }

  UniqueFd user;
  UniqueFd terminal;
};

}  // namespace hull::testing

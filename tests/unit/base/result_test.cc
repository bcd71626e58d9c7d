#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace hull {
namespace {

Result<int> parse(bool good) {
  if (!good) return fail(ErrorKind::kInvalidConfig, "bad number {}", 7);
  return 42;
}
Result<void> check(bool good) {
  if (!good) return fail(ErrorKind::kBusy, "taken");
  return {};
}
Result<int> use(bool first, bool second) {
  const int value = TRY(parse(first));
  TRY(check(second));
  return value + 1;
}

TEST(Result, TryUnwrapsOrReturns) {
  EXPECT_EQ(use(true, true).value(), 43);
  EXPECT_EQ(use(false, true).error().kind(), ErrorKind::kInvalidConfig);
  EXPECT_EQ(use(true, false).error().message(), "taken");
}

TEST(Result, TryMovesOutMoveOnlyValues) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(5); };
  const auto use_it = [&]() -> Result<int> {
    const std::unique_ptr<int> pointer = TRY(make());
    return *pointer;
  };
  EXPECT_EQ(use_it().value(), 5);
}

TEST(Result, ContextGoesInFrontOnlyOfErrors) {
  auto failed = parse(false).with_context("disk vda");
  EXPECT_EQ(failed.error().message(), "disk vda: bad number 7");
  EXPECT_EQ(parse(true).with_context("disk vda").value(), 42);
}

TEST(Error, FromErrnoKeepsNumberAndSaysIt) {
  errno = ENOENT;
  const Error error = Error::from_errno("open '/a'");
  EXPECT_EQ(error.error_number(), ENOENT);
  EXPECT_EQ(error.message(), "open '/a': No such file or directory");
}

TEST(Error, KindFollowsErrno) {
  EXPECT_EQ(Error::from_errno("x", ENOSPC).kind(), ErrorKind::kNoSpace);
  EXPECT_EQ(Error::from_errno("x", EDQUOT).kind(), ErrorKind::kNoSpace);
  EXPECT_EQ(Error::from_errno("x", EAGAIN).kind(), ErrorKind::kBusy);
  EXPECT_EQ(Error::from_errno("x", EIO).kind(), ErrorKind::kIo);
}

TEST(Error, LimitsOfTheHostAreTheHosts) {
  for (const int number : {ENOMEM, EMFILE, ENFILE})
    EXPECT_EQ(Error::from_errno("x", number).kind(), ErrorKind::kHost);
  const Error error = Error::of_host("KVM_RUN", EAGAIN);
  EXPECT_EQ(error.kind(), ErrorKind::kHost);
  EXPECT_EQ(error.error_number(), EAGAIN);
  EXPECT_EQ(error.message(), "KVM_RUN: Resource temporarily unavailable");
}

TEST(Error, ListHasALineForEachProblemWhateverNamesHold) {
  const std::vector<std::string> problems = {"disk 'a\nerror: b'", "vcpus"};
  const Error error = Error::list(ErrorKind::kInvalidConfig, problems);
  EXPECT_EQ(error.lines(), (std::vector<std::string_view>{"disk 'a\\x0aerror: b'", "vcpus"}));
}

TEST(Error, OtherErrorsAreOneLine) {
  const Error error(ErrorKind::kIo, "open 'a\nb'");
  EXPECT_EQ(error.lines(), std::vector<std::string_view>{"open 'a\nb'"});
}

TEST(Error, UnknownNumberHasAText) {
  EXPECT_NE(Error::from_errno("x", 99999).message().find("99999"), std::string::npos);
}

}  // namespace
}  // namespace hull

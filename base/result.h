// Errors, and how they travel.
//
// Three classes of trouble have three answers. What the user or the host did wrong is an Error: it
// travels up to main() as a Result and ends in one line on stderr. What the guest did wrong is a
// status byte or DEVICE_NEEDS_RESET and never an Error. Our own bug is CHECK (base/check.h).
#pragma once

#include <fmt/core.h>

#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hull {

// What a caller may branch on; the message is for people. The exit code of the program follows from
// the kind (docs/man/hull.1, EXIT STATUS), so a new kind needs a line there.
enum class ErrorKind : unsigned char {
  kIo,             // a system call on a file, socket or device failed
  kUsage,          // the command line cannot be understood
  kInvalidConfig,  // the domain document or an option asks for what hull refuses
  kHost,           // the host lacks a facility or is at a limit (/dev/kvm, tun, memory, threads)
  kBusy,           // somebody else holds the domain, image or device
  kInvalidFormat,  // a file is not what it says it is
  kUnsupported,    // valid, but hull does not do it
  kCorrupt,        // an image contradicts itself
  kOutOfRange,     // an offset, length or count is past its limit
  kNoSpace,        // ENOSPC, EDQUOT or EFBIG while writing
  kTimeout,
  kInternal,
};

// `message` says what, where and what to do, without a trailing full stop or newline.
class Error {
 public:
  Error(ErrorKind kind, std::string message, int error_number = 0)
      : kind_(kind), error_number_(error_number), message_(std::move(message)) {}

  // The one place that reads errno: "open '/a': No such file or directory".
  static Error from_errno(std::string_view what);
  // The same for calls that return the number (io_uring, posix_*); `error_number` > 0.
  static Error from_errno(std::string_view what, int error_number);
  // The same for what the host itself lacks or refuses, whatever the number: kHost.
  static Error of_host(std::string_view what);
  static Error of_host(std::string_view what, int error_number);
  // Several problems, a line each: the only errors whose newlines are not part of somebody's name.
  static Error list(ErrorKind kind, std::span<const std::string> problems);

  ErrorKind kind() const { return kind_; }
  // Says nothing about what was read: the medium or the host failed, not the contents.
  bool is_of_host() const {
    return kind_ == ErrorKind::kIo || kind_ == ErrorKind::kHost || kind_ == ErrorKind::kNoSpace;
  }
  int error_number() const { return error_number_; }  // errno, 0 where there is none
  const std::string& message() const { return message_; }
  // What to print, a line each. Not escaped; valid as long as the error.
  std::vector<std::string_view> lines() const;

  // "where: message". Each layer adds at most one piece.
  Error&& with_context(std::string_view where) &&;

 private:
  ErrorKind kind_;
  int error_number_;
  bool is_list_ = false;
  std::string message_;
};

template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;

  // Adds context to the error, if there is one.
  Result&& with_context(std::string_view where) && {
    if (!this->has_value()) std::move(this->error()).with_context(where);
    return std::move(*this);
  }
};

// return fail(ErrorKind::kCorrupt, "L1 entry {} points at {:#x}", index, offset);
template <class... Args>
std::unexpected<Error> fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error(kind, fmt::format(format, std::forward<Args>(args)...)));
}

// A message of several lines, a remedy in the second for instance.
template <class... Lines>
std::unexpected<Error> fail_lines(ErrorKind kind, Lines&&... lines) {
  const std::string all[] = {std::string(std::forward<Lines>(lines))...};
  return std::unexpected(Error::list(kind, all));
}

}  // namespace hull

// Unwraps a Result or returns its error from the enclosing function; TRY is an expression, one per
// full expression (nesting trips -Wshadow).
#define TRY(...)                                                  \
  __extension__({                                                 \
    auto hull_try_result = (__VA_ARGS__);                         \
    if (!hull_try_result) [[unlikely]]                            \
      return std::unexpected(std::move(hull_try_result).error()); \
    *std::move(hull_try_result);                                  \
  })

// The same inside coroutines, as a statement, because g++ 12 cannot suspend inside a statement
// expression: CO_TRY(const uint64_t entry, co_await table.load(index)); CO_TRY_VOID(co_await
// flush());
#define HULL_CONCAT_INNER(a, b) a##b
#define HULL_CONCAT(a, b) HULL_CONCAT_INNER(a, b)
#define CO_TRY(declaration, ...)                                                    \
  auto HULL_CONCAT(hull_try_, __LINE__) = __VA_ARGS__;                              \
  if (!HULL_CONCAT(hull_try_, __LINE__)) [[unlikely]]                               \
    co_return std::unexpected(std::move(HULL_CONCAT(hull_try_, __LINE__)).error()); \
  declaration = *std::move(HULL_CONCAT(hull_try_, __LINE__))
#define CO_TRY_VOID(...)                                             \
  do {                                                               \
    auto hull_try_result = __VA_ARGS__;                              \
    if (!hull_try_result) [[unlikely]]                               \
      co_return std::unexpected(std::move(hull_try_result).error()); \
  } while (false)

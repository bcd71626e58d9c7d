#include "base/result.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/text.h"

namespace hull {

namespace {

// The one place where the number decides. A limit of the host is the host's, whatever was tried;
// EAGAIN is a lock that another process holds, except where of_host() is called.
ErrorKind kind_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return ErrorKind::kNoSpace;
    case ENOMEM:
    case EMFILE:
    case ENFILE: return ErrorKind::kHost;
    case EAGAIN:
    case EBUSY:
    case ETXTBSY: return ErrorKind::kBusy;
    default: return ErrorKind::kIo;
  }
}

std::string described(std::string_view what, int error_number) {
  char buffer[128];
  // The GNU form returns the text, which need not be in the buffer.
  const char* text = strerror_r(error_number, buffer, sizeof buffer);
  const char* remedy = error_number == EMFILE ? "; 'ulimit -n' raises the limit" : "";
  return fmt::format("{}: {}{}", what, text, remedy);
}

}  // namespace

Error Error::from_errno(std::string_view what) { return from_errno(what, errno); }

Error Error::from_errno(std::string_view what, int error_number) {
  return Error(kind_of(error_number), described(what, error_number), error_number);
}

Error Error::of_host(std::string_view what) { return of_host(what, errno); }

Error Error::of_host(std::string_view what, int error_number) {
  return Error(ErrorKind::kHost, described(what, error_number), error_number);
}

Error Error::list(ErrorKind kind, std::span<const std::string> problems) {
  Error error(kind, "");
  error.is_list_ = true;
  for (const std::string& problem : problems) {
    if (!error.message_.empty()) error.message_ += '\n';
    error.message_ += printable(problem);
  }
  return error;
}

std::vector<std::string_view> Error::lines() const {
  if (!is_list_) return {message_};
  std::vector<std::string_view> lines;
  for (std::string_view rest = message_; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    lines.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return lines;
}

Error&& Error::with_context(std::string_view where) && {
  message_.insert(0, fmt::format("{}: ", where));
  return std::move(*this);
}

}  // namespace hull

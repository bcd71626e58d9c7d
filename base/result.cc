#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace hull {

namespace {

ErrorKind kind_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return ErrorKind::kNoSpace;
    case EAGAIN:
    case EBUSY:
    case ETXTBSY: return ErrorKind::kBusy;
    case ENOMEM:
    case EMFILE:
    case ENFILE: return ErrorKind::kHost;
    default: return ErrorKind::kIo;
  }
}

}  // namespace

Error Error::from_errno(std::string_view what) { return from_errno(what, errno); }

Error Error::from_errno(std::string_view what, int error_number) {
  char buffer[128];
  // The GNU form returns the text, which need not be in the buffer.
  const char* text = strerror_r(error_number, buffer, sizeof buffer);
  const char* remedy = error_number == EMFILE ? "; 'ulimit -n' raises the limit" : "";
  return Error(kind_of(error_number), fmt::format("{}: {}{}", what, text, remedy), error_number);
}

Error&& Error::with_context(std::string_view where) && {
  message_.insert(0, fmt::format("{}: ", where));
  return std::move(*this);
}

}  // namespace hull

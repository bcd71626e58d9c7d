// How vmm/ issues the ioctls of KVM: KVM_CALL(vm.fd(), KVM_CREATE_IRQCHIP, 0).
#pragma once

#include <sys/ioctl.h>

#include <cerrno>

#include "base/result.h"

namespace hull::vmm {

// Retries EINTR, which is common on loaded hosts while the kernel waits for grace periods. The
// error is the host's, and names the call.
template <class Argument>
Result<int> kvm_ioctl(int fd, unsigned long request, Argument argument, const char* name) {
  for (;;) {
    const int result = ::ioctl(fd, request, argument);
    if (result >= 0) return result;
    if (errno == EINTR) continue;
    const int number = errno;
    return std::unexpected(
        Error(ErrorKind::kHost, Error::from_errno(name, number).message(), number));
  }
}

inline Result<void> without_value(Result<int> result) {
  if (!result) return std::unexpected(std::move(result).error());
  return {};
}

}  // namespace hull::vmm

// Both take the request's name as it is written, before the preprocessor replaces it by a number.
#define KVM_VALUE(fd, request, argument) ::hull::vmm::kvm_ioctl(fd, request, argument, #request)
// For ioctls that return nothing of interest.
#define KVM_CALL(fd, request, argument) \
  ::hull::vmm::without_value(::hull::vmm::kvm_ioctl(fd, request, argument, #request))

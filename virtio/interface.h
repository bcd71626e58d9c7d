// Network interfaces of the host, as far as a tap needs them set up: MTU, up, port of a bridge.
// Errors name the interface and the command that helps.
#pragma once

#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace hull::virtio {

class Interface {
 public:
  // Any name that the kernel takes; the interface need not exist.
  static Result<Interface> create(std::string name);

  Result<int> mtu() const;
  // Nothing if it has that MTU already.
  Result<void> set_mtu(int mtu) const;
  // Nothing if it is up already.
  Result<void> set_up() const;
  // kHost if `bridge` does not exist or is no bridge.
  Result<bool> is_port_of(const std::string& bridge) const;
  Result<void> add_to(const std::string& bridge) const;
  // Of a tap: how many descriptors are attached to it; 1 where the kernel does not tell.
  unsigned attached_queues() const;

 private:
  Interface(std::string name, UniqueFd control)
      : name_(std::move(name)), control_(std::move(control)) {}
  std::unexpected<Error> failure(std::string_view what, int error,
                                 const std::string& command) const;

  std::string name_;
  UniqueFd control_;  // any socket serves for the ioctls on interfaces
};

}  // namespace hull::virtio

// A tap interface of the host as a back end.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "virtio/net_backend.h"

namespace hull::virtio {

struct TapOptions {
  std::string ifname = {};           // at most 15 bytes; empty: the kernel makes one up
  bool create = true;                // false: it has to exist
  std::string bridge = {};           // the interface becomes its port; empty: none
  std::optional<uint16_t> mtu = {};  // absent: the bridge's, or what the interface has
};

class Tap final : public NetBackend {
 public:
  // Attaches to the interface, or creates one, which disappears with us. Either gets the MTU that
  // was asked for, or that of the bridge which it is put into (a port with a smaller one would
  // shrink the bridge for everybody), and goes up. What cannot be done without permission and was
  // done beforehand is no error. Errors say what to do: kHost without /dev/net/tun or permission,
  // kBusy if somebody else has it.
  static Result<std::unique_ptr<Tap>> open(const TapOptions& options);

  const std::string& ifname() const { return ifname_; }
  int fd() const override { return fd_.get(); }
  NetOffloads supported_offloads() const override { return supported_; }
  Result<void> set_offloads(NetOffloads offloads) override;
  std::optional<uint16_t> mtu() const override { return mtu_; }

 private:
  Tap(UniqueFd fd, std::string ifname) : fd_(std::move(fd)), ifname_(std::move(ifname)) {}
  Result<void> attach(bool exists);
  void probe_offloads();

  UniqueFd fd_;
  std::string ifname_;
  NetOffloads supported_;
  std::optional<uint16_t> mtu_;
};

}  // namespace hull::virtio

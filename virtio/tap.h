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
  std::optional<uint16_t> mtu = {};  // for an interface that we create
};

class Tap final : public NetBackend {
 public:
  // Attaches to the interface, or creates it: then it gets the MTU, goes up, and disappears with
  // us. Errors say what to do: kHost without /dev/net/tun or permission, kBusy if somebody else has
  // it.
  static Result<std::unique_ptr<Tap>> open(const TapOptions& options);

  const std::string& ifname() const { return ifname_; }
  int fd() const override { return fd_.get(); }
  NetOffloads supported_offloads() const override { return supported_; }
  Result<void> set_offloads(NetOffloads offloads) override;

 private:
  Tap(UniqueFd fd, std::string ifname) : fd_(std::move(fd)), ifname_(std::move(ifname)) {}
  void probe_offloads();

  UniqueFd fd_;
  std::string ifname_;
  NetOffloads supported_;
};

}  // namespace hull::virtio

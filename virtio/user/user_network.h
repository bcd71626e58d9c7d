// A network that needs no permission: the guest's IPv4 packets leave through sockets of passt's
// (1), which runs for this guest alone. What the guest must not reach is dropped here.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/user_network.h"
#include "virtio/net_backend.h"
#include "virtio/user/frame_filter.h"
#include "virtio/user/frame_stream.h"
#include "virtio/user/passt.h"

namespace hull::virtio {

struct UserNetworkOptions {
  std::string name = "net0";  // for messages
  std::array<uint8_t, 6> mac{};
  std::optional<uint16_t> mtu = {};  // at most kMaxUserMtu; absent: kUserMtu
  UserNetworkSpec spec = {};
};

class UserNetwork final : public NetBackend {
 public:
  // Starts passt, which needs some milliseconds of its own: ready() is for later. kBusy: a port is
  // taken; kHost.
  static Result<std::unique_ptr<UserNetwork>> open(UserNetworkOptions options);

  // Waits until passt serves, so that ports that are published lead somewhere; an Error that says
  // why and what would work if it does not within kPatience, or `cancel` is requested. Once, before
  // anything else, on any one thread.
  Result<void> ready(const std::stop_token& cancel);
  // With the ports that were chosen here.
  const std::vector<PublishedPort>& published() const { return options_.spec.published; }

  int fd() const override { return stream_.fd(); }
  int send(std::span<const iovec> pieces, size_t bytes) override;
  ssize_t receive(std::span<const iovec> pieces) override;
  bool holds_frames() const override { return stream_.holds_frames(); }
  NetOffloads supported_offloads() const override { return {}; }
  std::optional<uint16_t> mtu() const override { return options_.mtu; }
  Result<void> set_offloads(NetOffloads /*offloads*/) override { return {}; }
  std::string why_gone() override;

 private:
  static constexpr std::chrono::seconds kPatience{10};

  UserNetwork(UserNetworkOptions options, FrameRules rules, Passt passt, FrameStream stream);
  Result<void> ask_for_gateway();
  bool gateway_has_answered();
  std::unexpected<Error> start_failure();

  UserNetworkOptions options_;
  const uint32_t gateway_;
  FrameFilter filter_;
  FrameStream stream_;  // before passt_: it ends by itself when this closes
  Passt passt_;
  std::vector<iovec> pieces_;
};

}  // namespace hull::virtio

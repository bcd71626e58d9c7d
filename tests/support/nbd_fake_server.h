// An NBD server that says what the test tells it to, over a unix socket, to one client.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <thread>

#include "blockcore/nbd/listener.h"
#include "tests/support/nbd_client.h"
#include "tests/support/temporary_directory.h"

namespace hull::testing {

class NbdFakeServer {
 public:
  // `script` runs in a thread with the accepted connection, which is closed when it returns.
  explicit NbdFakeServer(std::function<void(NbdClient& peer)> script)
      : listener_(blockcore::nbd::UnixListener::create(directory_ / "socket").value()),
        socket_(listener_.take_socket()),
        thread_([this, say = std::move(script)] {
          pollfd entry{.fd = socket_.get(), .events = POLLIN, .revents = 0};
          CHECK(::poll(&entry, 1, -1) == 1);
          NbdClient peer(UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
          say(peer);
        }) {}
  ~NbdFakeServer() { thread_.join(); }
  NbdFakeServer(const NbdFakeServer&) = delete;
  NbdFakeServer& operator=(const NbdFakeServer&) = delete;

  std::string url() const { return "nbd+unix:///?socket=" + directory_ / "socket"; }

  static void answer(NbdClient& peer, uint32_t option, blockcore::nbd::OptionReply type,
                     std::string_view data = {}) {
    std::string message;
    blockcore::nbd::append_bytes(
        message, blockcore::nbd::OptionReplyHeader{blockcore::nbd::kOptionReplyMagic, option,
                                                   static_cast<uint32_t>(type),
                                                   static_cast<uint32_t>(data.size())});
    peer.send(message.append(data));
  }
  // An honest handshake about an export of 64 KiB with structured replies; context 5 is
  // base:allocation.
  static void shake_hands(NbdClient& peer,
                          uint16_t flags = blockcore::nbd::kHasFlags | blockcore::nbd::kSendFlush) {
    using namespace blockcore::nbd;
    peer.send_message(ServerHello{kInitMagic, kOptionMagic, uint16_t{kFixedNewstyle | kNoZeroes}});
    (void)peer.receive(4);
    while (const auto header = peer.receive_message<OptionHeader>()) {
      (void)peer.receive(header->length);
      std::string data;
      if (static_cast<Option>(header->option.get()) == Option::kSetMetaContext) {
        append_bytes(data, Be32(5U));
        answer(peer, header->option, OptionReply::kMetaContext, data.append(kAllocationContext));
      }
      const bool go = static_cast<Option>(header->option.get()) == Option::kGo;
      if (go) {
        append_bytes(data, ExportInfo{kInfoExport, uint64_t{64 << 10}, flags});
        answer(peer, header->option, OptionReply::kInfo, data);
      }
      answer(peer, header->option, OptionReply::kAck);
      if (go) return;
    }
  }

 private:
  TemporaryDirectory directory_;
  blockcore::nbd::UnixListener listener_;
  UniqueFd socket_;
  std::thread thread_;
};

}  // namespace hull::testing

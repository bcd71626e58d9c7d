// An NBD server that says what the test tells it to, over a unix socket, to one connection, or to
// several one after the other.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <thread>
#include <vector>

#include "base/event_fd.h"
#include "blockcore/nbd/listener.h"
#include "tests/support/nbd_client.h"
#include "tests/support/temporary_directory.h"

namespace hull::testing {

class NbdFakeServer {
 public:
  using Script = std::function<void(NbdClient& peer)>;

  // Each script runs in a thread with an accepted connection, which is closed when it returns;
  // after the last one nobody listens any more.
  explicit NbdFakeServer(std::vector<Script> scripts)
      : listener_(blockcore::nbd::UnixListener::create(directory_ / "socket").value()),
        socket_(listener_.take_socket()),
        thread_([this, scripts = std::move(scripts)] {
          for (const Script& say : scripts) {
            pollfd entries[] = {{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                {.fd = end_.fd(), .events = POLLIN, .revents = 0}};
            CHECK(::poll(entries, std::size(entries), -1) > 0);
            if (entries[0].revents == 0) break;
            NbdClient peer(UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
            say(peer);
          }
          socket_.reset();
        }) {}
  explicit NbdFakeServer(const Script& script) : NbdFakeServer(std::vector<Script>{script}) {}
  ~NbdFakeServer() {
    end_.signal();  // whoever nobody has come to
    thread_.join();
  }
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
  // An honest handshake about an export, with structured replies; context 5 is
  // base:allocation.
  static void shake_hands(NbdClient& peer,
                          uint16_t flags = blockcore::nbd::kHasFlags | blockcore::nbd::kSendFlush,
                          uint64_t bytes = 64 << 10) {
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
        append_bytes(data, ExportInfo{kInfoExport, bytes, flags});
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
  EventFd end_ = EventFd::create().value();
  std::thread thread_;
};

}  // namespace hull::testing

// hull nbd: serves an image to NBD clients until the last one has left or a signal comes. One
// thread does it all; the image is closed, with everything written, whatever ends it.
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

#include "base/log.h"
#include "blockcore/image/single_image.h"
#include "blockcore/nbd/bitmap_context.h"
#include "blockcore/nbd/listener.h"
#include "blockcore/nbd/meta_contexts.h"
#include "blockcore/qcow2/edit/bitmap_store.h"
#include "tools/hull/daemon.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/nbd_options.h"
#include "tools/hull/runtime/pid_file.h"

namespace hull::cli {

namespace {

using blockcore::Disk;
using blockcore::IoEngine;
using blockcore::nbd::DirtyBitmap;
using blockcore::nbd::Export;
using blockcore::nbd::listen_tcp;
using blockcore::nbd::Server;
using blockcore::nbd::SocketAddress;
using blockcore::nbd::TcpListener;
using blockcore::nbd::UnixListener;

// SIGTERM, SIGINT and SIGHUP, which all ask for the end.
Result<UniqueFd> catch_signals() {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  UniqueFd fd(::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return std::unexpected(Error::from_errno("signalfd"));
  return fd;
}

struct Listener {
  UniqueFd socket;
  std::optional<UnixListener> name;  // of a unix socket: removes it in the end
  std::string uri;
};

Result<Listener> make_listener(const NbdCommand& command) {
  if (command.activated)
    return Listener{TRY(blockcore::nbd::take_activated_socket()), std::nullopt,
                    "a socket that was handed over"};
  if (!command.socket.empty()) {
    UnixListener name = TRY(UnixListener::create(command.socket));
    UniqueFd socket = name.take_socket();
    return Listener{std::move(socket), std::move(name),
                    fmt::format("nbd+unix:///{}?socket={}", command.export_name, command.socket)};
  }
  const SocketAddress address = TRY(SocketAddress::tcp(command.bind, command.port));
  if (!address.is_loopback())
    LOG_WARN("nbd: whoever can reach {} can use {}: there is neither password nor encryption",
             command.bind, command.image.path);
  TcpListener tcp = TRY(listen_tcp(address).with_context(command.bind));
  const bool v6 = command.bind.find(':') != std::string::npos;
  return Listener{std::move(tcp.socket), std::nullopt,
                  fmt::format("nbd://{}{}{}:{}/{}", v6 ? "[" : "", command.bind, v6 ? "]" : "",
                              tcp.port, command.export_name)};
}

blockcore::Task<Result<DirtyBitmap>> read_bitmap(blockcore::Qcow2Disk& image, std::string name) {
  blockcore::File& file = *image.parts().image.file;
  CO_TRY(blockcore::qcow2::BitmapDirectory directory,
         co_await read_bitmap_directory(file, image.header()));
  for (const blockcore::qcow2::Bitmap& bitmap : directory.bitmaps) {
    if (bitmap.name != name) continue;
    CO_TRY(std::vector<std::byte> bits, co_await load_bits(file, image.header(), bitmap));
    co_return DirtyBitmap{
        .name = name, .bits = std::move(bits), .granularity_bits = bitmap.granularity_bits};
  }
  co_return fail(ErrorKind::kInvalidConfig, "{}: there is no bitmap '{}'", file.path(), name);
}

// Of the image itself, which nobody changes while it is served.
Result<std::vector<DirtyBitmap>> read_bitmaps(const NbdCommand& command, IoEngine& engine) {
  std::vector<DirtyBitmap> bitmaps;
  if (command.bitmaps.empty()) return bitmaps;
  const auto image = TRY(engine.run_until_done(blockcore::open_single_qcow2(
      engine, {.path = command.image.path, .format = command.image.format, .read_only = true})));
  for (const std::string& name : command.bitmaps)
    bitmaps.push_back(TRY(engine.run_until_done(read_bitmap(*image, name))));
  return bitmaps;
}

Export make_export(const NbdCommand& command, Disk& disk, std::vector<DirtyBitmap> bitmaps) {
  Export offer{.name = command.export_name,
               .description = command.description,
               .disk = &disk,
               .read_only = command.image.read_only,
               .multi_conn = command.clients > 1,
               .contexts = {}};
  offer.contexts.push_back(blockcore::nbd::make_allocation_context(disk));
  if (command.allocation_depth) offer.contexts.push_back(blockcore::nbd::make_depth_context(disk));
  for (DirtyBitmap& bitmap : bitmaps)
    offer.contexts.push_back(blockcore::nbd::make_bitmap_context(std::move(bitmap)));
  return offer;
}

blockcore::Task<void> end_service(Server& server, IoEngine& engine) {
  co_await server.stop();
  engine.stop();
}

// Returns when everybody is gone.
Result<void> serve_disk(const NbdCommand& command, IoEngine& engine, Disk& disk, int signals,
                        std::optional<PidFile>& pid_file, Readiness ready) {
  std::vector<DirtyBitmap> bitmaps = TRY(read_bitmaps(command, engine));
  Listener listener = TRY(make_listener(command));
  Server* running = nullptr;
  const auto end = [&running, &engine] {
    if (Server* const server = std::exchange(running, nullptr); server != nullptr)
      blockcore::start_detached(end_service(*server, engine));
  };
  blockcore::nbd::ServerOptions options{.max_connections = command.clients};
  if (!command.persistent) options.last_client_left = end;
  const auto server = TRY(
      Server::create(engine, make_export(command, disk, std::move(bitmaps)), std::move(options)));
  running = server.get();
  TRY(server->listen(std::move(listener.socket)));
  if (pid_file) TRY(pid_file->publish(::getpid()));
  TRY(engine.watch(signals, end));
  if (command.verbose) {
    fmt::print("{}\n", listener.uri);
    std::fflush(stdout);
  }
  ready.announce();
  engine.run();
  engine.unwatch(signals);
  return {};
}

Result<void> open_and_serve(NbdCommand& command, Readiness ready) {
  // Gone last of all: who waits for it finds the image closed.
  std::optional<PidFile> pid_file;
  if (!command.pid_file.empty()) pid_file.emplace(TRY(PidFile::acquire(command.pid_file)));
  const auto engine = TRY(IoEngine::create(command.engine));
  blockcore::OpenOptions image = command.image;
  command.image.keys.clear();  // wiped when the disk has them
  const auto disk = TRY(engine->run_until_done(blockcore::open_disk(*engine, std::move(image))));
  // Before, a signal ends the process at once, whatever the image keeps it doing.
  const UniqueFd signals = TRY(catch_signals());
  const Result<void> served =
      serve_disk(command, *engine, *disk, signals.get(), pid_file, std::move(ready));
  const Result<void> closed = engine->run_until_done(disk->close());
  return served ? closed : served;
}

}  // namespace

int nbd_verb(Arguments arguments) {
  Result<NbdCommand> command = parse_nbd_command(arguments);
  if (!command) return report(command.error());
  if (command->help_shown) return kExitOk;
  if (command->verbose) set_log_level(LogLevel::kDebug);
  const auto serve = [&command](Readiness ready) {
    const Result<void> served = open_and_serve(*command, std::move(ready));
    return served ? int{kExitOk} : report(served.error());
  };
  return command->fork ? run_in_background(serve) : serve({});
}

}  // namespace hull::cli

// What a machine stands on and a reset does not touch: KVM, kernel and initrd, what is behind the
// virtio devices and its threads, the console.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/limits.h"
#include "base/user_network.h"
#include "blockcore/disk.h"
#include "blockcore/engine/engine_reactor.h"
#include "blockcore/engine/io_thread.h"
#include "blockcore/secret.h"
#include "config/domain.h"
#include "devices/console/console.h"
#include "firmware/boot.h"
#include "virtio/worker_thread.h"
#include "vmm/kvm.h"
#include "vmm/virtio_kinds.h"

namespace hull::vmm {

// By the id under which the domain names them (config::EncryptionConfig).
using DiskSecrets = std::map<std::string, std::shared_ptr<const blockcore::Secret>>;

struct DomainOptions {
  bool ephemeral = false;           // every disk gets a throw-away overlay
  bool debug_exit_port = false;     // the port by which test guests end with a code of their own
  bool one_io_thread = false;       // disks, networks and entropy share the images' thread
  bool return_device_tree = false;  // Domain::device_tree() has it
  // What pause() waits for a device, and on_crash=preserve before it keeps one that does not
  // answer.
  std::chrono::milliseconds pause_patience = kPausePatience;
  DiskSecrets secrets = {};  // wiped when the disks are open, unless the caller has them too
  // Gets what the guest writes to its console, on the loop's thread. May be empty.
  std::function<void(std::span<const uint8_t>)> on_console_output = {};
  // Told of requests of the guest's that a disk (its target's name) has failed, as often as the
  // guest tries; on any thread that serves disks, and possibly after ~Domain if a back end had to
  // be given up. Must not wait. May be empty.
  std::function<void(const std::string& disk, const Error&)> on_disk_error = {};
  // Looked at between the steps of opening and building: an Error soon after it was requested.
  std::stop_token cancel = {};
};

// What is behind a network of the domain's.
struct NetworkFacts {
  std::string interface;                 // the host's; empty: none
  std::vector<PublishedPort> published;  // with the numbers that were chosen
};

class HostParts {
 public:
  // Opens everything, locks the images, starts the threads. `loop`, which is the console's, and
  // `options` outlive the parts; `on_escape`: the user asks for the end at the console. The loop's
  // thread.
  static Result<std::unique_ptr<HostParts>> open(EventLoop& loop,
                                                 const config::DomainConfig& domain,
                                                 DomainOptions& options,
                                                 std::function<void()> on_escape);
  // Without close() images are left as after a crash: consistent.
  ~HostParts();

  // Waits, not for long, for helpers that were started by open() and that the guest needs.
  Result<void> wait_for_helpers();
  // Flushes and closes the images, drops their locks. No machine uses them any more. Servers that
  // have not answered after `patience` are given up.
  Result<void> close(std::chrono::milliseconds patience);
  // Lets go of the images without an end of what they are doing; whatever uses them goes on to.
  void leak_disks();

  Kvm& kvm() { return *kvm_; }
  const firmware::GuestSource& boot() const { return *boot_; }
  // Of all virtio devices of the domain, in the order of virtio_kinds().
  std::span<const DeviceMaker> virtio() const { return virtio_; }
  const std::vector<NetworkFacts>& networks() const { return networks_; }
  devices::Console& console() { return *console_; }

  // For VirtioKind::open, while open() runs.
  const DomainOptions& options() const { return options_; }
  struct OpenDisk {
    blockcore::Disk& disk;
    blockcore::IoEngine& engine;
  };
  // The image, on the thread that the configuration names; it stays until close().
  Result<OpenDisk> open_disk(const config::DiskConfig& disk);
  // A thread for a device that is no disk, or what takes its place (DomainOptions::one_io_thread).
  Result<std::unique_ptr<virtio::WorkerThread>> make_worker(std::string_view name);
  // Of the next network.
  void add_network(NetworkFacts facts) { networks_.push_back(std::move(facts)); }
  // Called once, before a guest runs.
  using Wait = std::function<Result<void>(const std::stop_token& cancel)>;
  void before_start(Wait wait) { waits_.push_back(std::move(wait)); }

 private:
  explicit HostParts(DomainOptions& options) : options_(options) {}
  Result<void> open_boot_files(const config::DomainConfig& domain, bool return_device_tree);
  Result<blockcore::IoThread*> io_thread(unsigned number);
  Result<void> start_io_threads();
  bool close_on(blockcore::IoThread& thread, std::chrono::milliseconds patience,
                Result<void>& first_error);
  Result<void> open_virtio(const config::DomainConfig& domain);
  Result<void> open_console(EventLoop& loop, const config::DomainConfig& domain,
                            std::function<void()> on_escape);

  DomainOptions& options_;
  std::optional<Kvm> kvm_;
  std::optional<firmware::GuestSource> boot_;
  // By the disks' numbers (config::DiskConfig::iothread); there is always number 0.
  std::map<unsigned, std::unique_ptr<blockcore::IoThread>> io_threads_;
  std::unique_ptr<blockcore::EngineReactor> reactor_;  // of number 0
  std::vector<blockcore::IoEngine*> engines_;          // of the disks
  std::vector<std::unique_ptr<blockcore::Disk>> disks_;
  std::vector<NetworkFacts> networks_;
  std::vector<Wait> waits_;
  std::vector<DeviceMaker> virtio_;
  std::unique_ptr<devices::Console> console_;
};

}  // namespace hull::vmm

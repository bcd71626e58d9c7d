// What a machine stands on and a reset does not touch: KVM, kernel and initrd, images, taps, their
// threads, the console.
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
#include "blockcore/disk.h"
#include "blockcore/engine/engine_reactor.h"
#include "blockcore/engine/io_thread.h"
#include "blockcore/secret.h"
#include "config/domain.h"
#include "devices/console/console.h"
#include "firmware/boot.h"
#include "virtio/net_backend.h"
#include "virtio/worker_thread.h"
#include "vmm/kvm.h"

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

class HostParts {
 public:
  // Opens everything, locks the images, starts the threads. `loop` is the console's and outlives
  // the parts; `on_escape`: the user asks for the end at the console. The loop's thread.
  static Result<std::unique_ptr<HostParts>> open(EventLoop& loop,
                                                 const config::DomainConfig& domain,
                                                 DomainOptions& options,
                                                 std::function<void()> on_escape);
  // Without close() images are left as after a crash: consistent.
  ~HostParts();

  // Flushes and closes the images, drops their locks. No machine uses them any more. Servers that
  // have not answered after `patience` are given up.
  Result<void> close(std::chrono::milliseconds patience);
  // Lets go of the images without an end of what they are doing; whatever uses them goes on to.
  void leak_disks();

  Kvm& kvm() { return *kvm_; }
  const firmware::GuestSource& boot() const { return *boot_; }
  // Of the disks.
  std::span<blockcore::IoEngine* const> engines() const { return engines_; }
  std::span<const std::unique_ptr<blockcore::Disk>> disks() const { return disks_; }
  std::span<const std::unique_ptr<virtio::NetBackend>> networks() const { return networks_; }
  const std::vector<std::string>& interfaces() const { return interfaces_; }
  std::span<const std::unique_ptr<virtio::WorkerThread>> workers() const { return workers_; }
  devices::Console& console() { return *console_; }

 private:
  HostParts() = default;
  Result<void> open_boot_files(const config::DomainConfig& domain, bool return_device_tree);
  Result<blockcore::IoThread*> io_thread(unsigned number);
  Result<void> start_io_threads();
  bool close_on(blockcore::IoThread& thread, std::chrono::milliseconds patience,
                Result<void>& first_error);
  Result<void> open_disks(const config::DomainConfig& domain, const DomainOptions& options);
  Result<void> open_networks(const config::DomainConfig& domain, const DomainOptions& options);
  Result<void> add_worker(std::string_view name, const DomainOptions& options);
  Result<void> open_console(EventLoop& loop, const config::DomainConfig& domain,
                            const DomainOptions& options, std::function<void()> on_escape);

  std::optional<Kvm> kvm_;
  std::optional<firmware::GuestSource> boot_;
  // By the disks' numbers (config::DiskConfig::iothread); there is always number 0.
  std::map<unsigned, std::unique_ptr<blockcore::IoThread>> io_threads_;
  std::unique_ptr<blockcore::EngineReactor> reactor_;  // of number 0
  std::vector<blockcore::IoEngine*> engines_;
  std::vector<std::unique_ptr<blockcore::Disk>> disks_;
  std::vector<std::unique_ptr<virtio::NetBackend>> networks_;
  std::vector<std::string> interfaces_;  // of the host, behind them; empty: none
  std::vector<std::unique_ptr<virtio::WorkerThread>> workers_;
  std::unique_ptr<devices::Console> console_;
};

}  // namespace hull::vmm

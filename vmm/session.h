// One run of a domain: what outlives a reset of the machine (locks, images, console, taps, the
// event loop), and the loop that builds a machine, lets it run and decides what its end means.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/event_loop.h"
#include "blockcore/disk.h"
#include "blockcore/engine/io_thread.h"
#include "devices/console/console.h"
#include "firmware/boot.h"
#include "virtio/net_backend.h"
#include "virtio/worker_thread.h"
#include "vmm/machine.h"
#include "vmm/run_domain.h"
#include "vmm/signals.h"

namespace hull::vmm {

class Session {
 public:
  // `domain` and `options` outlive the session, `secrets` end with the call. Opens everything that
  // the machine needs.
  static Result<std::unique_ptr<Session>> create(const config::DomainConfig& domain,
                                                 const RunOptions& options, DiskSecrets secrets);
  ~Session();

  // Runs machines until one ends for good.
  Result<EndReason> run();
  // Builds the machine for its device tree alone.
  Result<std::vector<uint8_t>> device_tree();
  // Flushes and closes the images. Call it also after an error of run().
  Result<void> close();

 private:
  Session(const config::DomainConfig& domain, const RunOptions& options, EventLoop loop)
      : domain_(domain), options_(options), loop_(std::move(loop)) {}
  Result<void> open_boot_files();
  Result<void> open_disks(const DiskSecrets& secrets);
  Result<void> open_networks();
  Result<void> open_console();
  Result<void> build(std::vector<uint8_t>* device_tree);
  Result<EndReason> run_machine_once();
  // Keeps everything as the guest left it until a signal or the time-out.
  Result<void> preserve(const EndReason& end);
  // The power button first; the second time, or when the grace time is over, off.
  void request_power_off();
  void force_off(EndKind kind, std::string detail);

  const config::DomainConfig& domain_;
  const RunOptions& options_;
  EventLoop loop_;
  std::optional<SignalWatcher> signals_;  // before any thread
  std::optional<Kvm> kvm_;
  std::optional<firmware::BootSource> boot_;
  std::unique_ptr<blockcore::IoThread> io_thread_;
  std::vector<std::unique_ptr<blockcore::Disk>> disks_;
  std::vector<std::unique_ptr<virtio::NetBackend>> networks_;
  std::vector<std::unique_ptr<virtio::WorkerThread>> workers_;
  std::unique_ptr<devices::Console> console_;

  // While a machine runs.
  std::unique_ptr<Outcome> outcome_;
  std::unique_ptr<Machine> machine_;
  bool power_button_pressed_ = false;
  bool preserved_ = false;
  std::optional<EndReason> forced_;  // the order to stop, once it was given
  uint64_t grace_timer_ = 0;
};

}  // namespace hull::vmm

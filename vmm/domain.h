// The life of one virtual machine, as a library: no signals, PID file, standard streams or exit
// codes, no statics. Any number of domains live in one process, on one event loop or several.
//
//              start()           pause()
//   building ───────────► running ◄──────► paused
//      ▲                     │    resume()    │
//      │ restart             ▼                │
//      └───────────────── ending ◄────────────┘
//                        ▲ │  │
//              preserved │◄┘  └──────► ended
//                        └─ end()
//
// The guest, KVM or end() brings a run to its end; on_poweroff, on_reboot and on_crash say whether
// a new machine is built around the same disks and console, or the machine is kept, paused, until
// end(). Each order is acknowledged by the event of the state that it leads to.
//
// All members are called on the thread that runs the loop, which is never blocked for long. The
// process ignores SIGPIPE and SIGXFSZ. A vCPU's thread keeps SIGRTMIN for itself; nothing is
// installed for it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "vmm/host_parts.h"
#include "vmm/machine.h"
#include "vmm/outcome.h"

namespace hull::vmm {

enum class DomainState : uint8_t {
  kBuilding,
  kRunning,
  kPaused,
  kEnding,     // vCPUs leave the guest, the console takes the last bytes, devices stop
  kPreserved,  // paused, as the guest left it; waits for end()
  kEnded,      // the machine is gone; close() is next
};
std::string_view to_string(DomainState state);

class Domain {
 public:
  // How long the console's other side has for the last bytes, after an end of the guest's own and
  // after one that was ordered.
  static constexpr std::chrono::milliseconds kDrainTime{3000};
  static constexpr std::chrono::milliseconds kHurriedDrainTime{300};

  // How long requests in flight have to end, after an end of the guest's own and after one that was
  // ordered; then their back ends are given up, and have the shorter time once more.
  static constexpr std::chrono::milliseconds kDeviceTime{10'000};
  static constexpr std::chrono::milliseconds kHurriedDeviceTime{200};

  // Opens and builds everything; the guest waits for start(). `loop` and `config` outlive the
  // domain.
  static Result<std::unique_ptr<Domain>> create(EventLoop& loop, const config::DomainConfig& config,
                                                DomainOptions options);
  // Waits for the vCPUs, and not for long for requests that are in flight.
  ~Domain();
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  // Called after each change of state, and may give orders, but not destroy the domain.
  void on_event(std::function<void(DomainState)> listener) { listener_ = std::move(listener); }
  // Somebody at the console's terminal asks for the end (Ctrl-]).
  void on_escape(std::function<void()> handler) { escape_handler_ = std::move(handler); }

  Result<void> start();
  // Takes the vCPUs out of the guest, then has the devices answer what is in flight; no frame and
  // no request is lost. `done` is called once, on the loop, unless this returns an error:
  //   success       the state is kPaused
  //   kTimeout      a device (named) has not answered within DomainOptions::pause_patience, or a
  //                 vCPU has not: nothing has changed, the guest runs on
  //   kUnsupported  the guest's run has ended meanwhile
  // kUnsupported, with the state, if there is nothing to pause or to resume. A pause() while
  // another one is under way, or of a paused domain, is answered as that one.
  using PauseDone = std::function<void(const Result<void>&)>;
  Result<void> pause(PauseDone done = {});
  Result<void> resume();
  // All that the guest can see of its machine, at most 2 GiB of memory included. Of a paused domain
  // (kUnsupported otherwise), which can go on or be ended afterwards.
  Result<std::vector<uint8_t>> save();
  // Instead of start(): the machine goes on where save() found another one of the same
  // configuration, whose disks have the contents that they had then. It is paused: resume().
  // kCorrupt or kHost for what cannot be taken; only close() is left then.
  Result<void> restore(std::span<const uint8_t> saved);
  // What the guest does about it is its affair, but a reset ends it. Of a machine that does not run
  // (paused, preserved) it is the end.
  void power_button();
  // As if the guest had asked for it.
  void reset();
  // The end, whatever the guest does. The first reason counts; if the machine is ending already,
  // that is sped up.
  void end(EndReason reason);

  // After kEnded, or instead of start(): flushes and closes the images.
  Result<void> close();

  DomainState state() const { return state_; }
  // From kEnding on: how the last run ended.
  const EndReason& reason() const { return reason_; }
  // The path of the console's pty or socket; empty for the others.
  const std::string& console_path() const { return parts_->console().path(); }
  // What is behind each network of the configuration.
  const std::vector<NetworkFacts>& networks() const { return parts_->networks(); }
  // With DomainOptions::return_device_tree.
  const std::vector<uint8_t>& device_tree() const { return device_tree_; }

 private:
  Domain(EventLoop& loop, const config::DomainConfig& config, DomainOptions options)
      : loop_(loop), config_(config), options_(std::move(options)) {}

  Result<void> build();
  Result<void> watch_machine();
  bool drop_machine();  // false: it had to be given up, and the disks with it
  void enter(DomainState state);
  void on_outcome();
  void on_orders_obeyed();
  void begin_pause();
  void look_at_pause();
  void on_paused();
  void give_up_pause(bool vcpus_paused);
  void answer_pause(const Result<void>& result);
  void drain_console();
  void begin_drain();
  void drain_devices();
  void give_up_machine();
  void on_drained();
  void restart();
  void finish();
  config::LifecycleAction next_action() const;

  EventLoop& loop_;
  const config::DomainConfig& config_;
  DomainOptions options_;
  std::function<void(DomainState)> listener_;
  std::function<void()> escape_handler_;
  std::unique_ptr<HostParts> parts_;
  DomainState state_ = DomainState::kBuilding;
  std::vector<uint8_t> device_tree_;

  std::unique_ptr<Outcome> outcome_;
  std::unique_ptr<Machine> machine_;
  bool watched_ = false;  // outcome and orders are on the loop
  EndReason reason_;
  std::optional<EndReason> ordered_;  // end() was called
  bool power_button_pressed_ = false;
  std::chrono::steady_clock::time_point drain_deadline_;
  bool devices_abandoned_ = false;
  bool pausing_ = false;
  std::chrono::steady_clock::time_point pause_deadline_;
  std::vector<PauseDone> pause_done_;  // who waits for the pause that is under way
  uint64_t timer_ = 0;
};

}  // namespace hull::vmm

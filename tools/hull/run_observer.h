// What a run says about itself while it goes on: to the person at the terminal, and to the program
// behind --events. All on the thread of the event loop.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "tools/hull/run_record.h"
#include "vmm/domain.h"

namespace hull::cli {

// Finds a word in bytes that come in pieces.
class WordFinder {
 public:
  explicit WordFinder(std::string_view word) : word_(word) {}
  bool found_in(std::span<const uint8_t> bytes);

 private:
  std::string_view word_;
  std::string tail_;  // of the bytes before, shorter than the word
};

class RunObserver {
 public:
  struct Options {
    std::string name;
    std::string log_file{};      // empty: there is none
    std::string boot{};          // what the BIOS starts; empty: there is none
    bool speaks = false;         // a person is at the terminal who did not say --quiet
    bool has_keyboard = false;   // Ctrl-] works
    bool lacks_network = false;  // nobody has said that there is to be none
    std::chrono::seconds grace;  // between the power button and switching off
    // How long a guest may say nothing before somebody is told where its words may have gone.
    std::chrono::milliseconds silence{10'000};
    std::atomic<unsigned>* resets = nullptr;  // counted there too, for other threads
  };
  static constexpr unsigned kManyResets = 3;

  // `events` may be null.
  RunObserver(Options options, std::shared_ptr<EventStream> events)
      : options_(std::move(options)), events_(std::move(events)) {}

  // Where the run's log is; without a call there is none.
  void set_log_file(std::string path) { options_.log_file = std::move(path); }
  void set_networks(std::vector<RunNetwork> networks) { networks_ = std::move(networks); }
  // For DomainOptions::on_disk_error: on any thread, also after the observer. Empty: nobody
  // listens.
  std::function<void(const std::string& disk, const Error&)> disk_error_listener() const;
  // `loop` outlives the observer, or stop() is called first.
  void on_state(EventLoop& loop, vmm::DomainState state, const std::string& console_path);
  void on_power_button();
  void on_console_output(std::span<const uint8_t> bytes);
  void stop();

  unsigned resets() const { return resets_; }

 private:
  void say(const std::string& text) const;
  void say_published() const;
  void on_running(EventLoop& loop, const std::string& console_path);

  Options options_;
  const std::shared_ptr<EventStream> events_;
  EventLoop* loop_ = nullptr;
  uint64_t silence_timer_ = 0;
  bool started_ = false;
  bool heard_ = false;
  bool panicked_ = false;
  bool ready_ = false;
  std::vector<RunNetwork> networks_;
  unsigned resets_ = 0;
  WordFinder panic_{"Kernel panic - not syncing"};
  WordFinder login_{"login: "};
};

}  // namespace hull::cli

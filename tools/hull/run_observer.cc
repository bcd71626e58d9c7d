#include "tools/hull/run_observer.h"

#include <algorithm>

#include "base/log.h"

namespace hull::cli {

bool WordFinder::found_in(std::span<const uint8_t> bytes) {
  std::string text = tail_;
  text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t at = text.find(word_);
  // What is left over begins behind a word that was found, so that each is found once.
  const size_t from = at == std::string::npos ? 0 : at + word_.size();
  tail_ = text.substr(std::max(from, text.size() - std::min(text.size(), word_.size() - 1)));
  return at != std::string::npos;
}

void RunObserver::say(const std::string& text) const {
  if (options_.speaks) log_line(LogLevel::kInfo, options_.name + ": " + text);
}

void RunObserver::say_published() const {
  for (const RunNetwork& network : networks_)
    for (const PublishedPort& port : network.published)
      say(fmt::format("{} leads to the guest's port {}", describe(port), port.guest_port));
}

void RunObserver::on_running(EventLoop& loop, const std::string& console_path) {
  if (std::exchange(started_, true)) {
    if (options_.resets != nullptr) ++*options_.resets;
    if (events_ != nullptr) events_->event("reset");
    ready_ = false;
    if (++resets_ == kManyResets)
      say(fmt::format(
          "the guest has reset itself {} times; --no-reboot ends a run at the first reset",
          resets_));
    return;
  }
  if (events_ != nullptr) events_->started(console_path, networks_);
  std::string text = "started";
  if (!options_.boot.empty()) text += "; the BIOS starts " + options_.boot;
  if (options_.lacks_network) text += "; no network (--net user has one, --net none says so)";
  if (!options_.log_file.empty()) text += "; log: " + options_.log_file;
  if (options_.has_keyboard) text += "; Ctrl-] presses the power button, once more switches off";
  say(text);
  say_published();
  if (!options_.speaks) return;
  loop_ = &loop;
  silence_timer_ = loop.call_after(options_.silence, [this] {
    silence_timer_ = 0;
    if (!heard_)
      say(
          fmt::format("the guest has printed nothing for {} seconds: Linux wants console=ttyS0 on "
                      "its command line",
                      options_.silence.count() / 1000));
  });
}

void RunObserver::on_state(EventLoop& loop, vmm::DomainState state,
                           const std::string& console_path) {
  switch (state) {
    case vmm::DomainState::kRunning: return on_running(loop, console_path);
    case vmm::DomainState::kPreserved:
      if (events_ != nullptr) events_->event("preserved");
      return;
    case vmm::DomainState::kEnded: return stop();
    default: return;
  }
}

void RunObserver::on_power_button() {
  if (events_ != nullptr) events_->event("power-button");
  say(fmt::format(
      "the power button is pressed; the guest has {} s, and a second time switches it off",
      options_.grace.count()));
}

void RunObserver::on_console_output(std::span<const uint8_t> bytes) {
  heard_ = heard_ || !bytes.empty();
  // The only thing that stock guests say by themselves when they are up.
  if (events_ != nullptr && !ready_ && login_.found_in(bytes)) {
    ready_ = true;
    events_->event("ready");
  }
  if (panicked_ || !panic_.found_in(bytes)) return;
  panicked_ = true;
  if (events_ != nullptr) events_->event("panic");
  say("the guest's kernel has panicked; with panic=-1 on its command line it resets, and that ends "
      "the run");
}

std::function<void(const std::string&, const Error&)> RunObserver::disk_error_listener() const {
  if (events_ == nullptr) return {};
  // A guest may try again and again.
  return [events = events_, limiter = std::make_shared<LogLimiter>()](const std::string& disk,
                                                                      const Error& error) {
    uint32_t suppressed = 0;
    if (limiter->admit(disk, suppressed)) events->io_error(disk, error.message());
  };
}

void RunObserver::stop() {
  if (loop_ != nullptr && silence_timer_ != 0) loop_->cancel(silence_timer_);
  silence_timer_ = 0;
  loop_ = nullptr;
}

}  // namespace hull::cli

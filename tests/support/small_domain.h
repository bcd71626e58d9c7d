// Domains that boot hull's own guest, and a loop that runs them to their end.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "config/domain.h"
#include "config/values.h"
#include "vmm/domain.h"

namespace hull::testing {

inline config::DomainConfig small_domain(const std::string& cmdline, unsigned vcpus = 1) {
  config::DomainConfig domain;
  domain.name = "small";
  domain.memory_bytes = 16u << 20;
  domain.vcpus = domain.vcpus_online = vcpus;
  config::set_kernel(domain.boot, config::kBuiltinGuestKernel);
  domain.boot.cmdline = cmdline;
  domain.rng = config::RngConfig{};
  domain.console = config::ConsoleConfig{};
  domain.console->kind = config::ConsoleKind::kNull;
  return domain;
}

// Runs `loop` until `done` or for two minutes.
inline bool run_loop_until(EventLoop& loop, const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  bool was_done = false;
  std::function<void()> check = [&] {
    was_done = done();
    if (was_done || std::chrono::steady_clock::now() > deadline)
      loop.stop();
    else
      loop.call_after(std::chrono::milliseconds(1), check);
  };
  loop.call_after(std::chrono::milliseconds(0), check);
  EXPECT_TRUE(loop.run());
  return was_done;
}

// A domain and what happened to it.
class ObservedDomain {
 public:
  ObservedDomain(EventLoop& loop, config::DomainConfig config, vmm::DomainOptions options = {})
      : loop_(loop), config_(std::move(config)) {
    auto domain = vmm::Domain::create(loop, config_, std::move(options));
    EXPECT_TRUE(domain) << (domain ? "" : domain.error().message());
    if (!domain) return;
    domain_ = std::move(*domain);
    domain_->on_event([this](vmm::DomainState state) { states.push_back(state); });
  }

  vmm::Domain& operator*() { return *domain_; }
  vmm::Domain* operator->() { return domain_.get(); }
  bool exists() const { return domain_ != nullptr; }
  bool ended() const { return domain_->state() == vmm::DomainState::kEnded; }
  bool reaches(vmm::DomainState state) {
    return run_loop_until(loop_, [&] { return domain_->state() == state; });
  }
  // Pauses and resumes every `interval` until the guest has ended or keeps running; how often.
  int pause_again_and_again(std::chrono::milliseconds interval) {
    int pauses = 0;
    while (!ended() && domain_->pause()) {
      EXPECT_TRUE(
          run_loop_until(loop_, [&] { return domain_->state() != vmm::DomainState::kRunning; }));
      if (domain_->state() != vmm::DomainState::kPaused) break;
      ++pauses;
      EXPECT_TRUE(domain_->resume());
      loop_.call_after(interval, [&] { loop_.stop(); });
      EXPECT_TRUE(loop_.run());
    }
    return pauses;
  }
  bool run_to_end() {
    EXPECT_TRUE(domain_->start());
    return reaches(vmm::DomainState::kEnded) && domain_->close().has_value();
  }

  std::vector<vmm::DomainState> states;

 private:
  EventLoop& loop_;
  const config::DomainConfig config_;
  std::unique_ptr<vmm::Domain> domain_;
};

}  // namespace hull::testing

// How a program of its own runs virtual machines: two of them on one event loop. It is told what
// happens to each; the first ends by itself, the second would go on for ever and is ended.
//
//   example_domains
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "config/generated.h"
#include "config/validate.h"
#include "config/values.h"
#include "vmm/domain.h"

namespace {

using namespace hull;

// hull's own small guest; a kernel file, disks and networks go into the same struct, and
// config::read_domain() fills it from a domain document.
Result<config::DomainConfig> describe(const std::string& name, const std::string& cmdline) {
  config::DomainConfig domain;
  domain.name = name;
  domain.memory_bytes = 64u << 20;
  config::set_kernel(domain.boot, config::kBuiltinGuestKernel);
  domain.boot.cmdline = cmdline;
  domain.console = config::ConsoleConfig{};
  domain.console->kind = config::ConsoleKind::kNull;
  TRY(config::fill_generated(domain));
  for (const config::Problem& problem : config::validate(domain))
    return fail(ErrorKind::kInvalidConfig, "{}: {}", name, problem.message);
  return domain;
}

void tell(const std::string& name, const vmm::Domain& domain) {
  const std::string state(to_string(domain.state()));
  std::printf("%s: %s", name.c_str(), state.c_str());
  if (domain.state() == vmm::DomainState::kEnded)
    std::printf(" (%s)", domain.reason().kind == vmm::EndKind::kPowerOff
                             ? "it switched itself off"
                             : domain.reason().detail.c_str());
  std::printf("\n");
}

Result<void> run_two() {
  // The configurations outlive the domains, and the loop outlives both.
  EventLoop loop = TRY(EventLoop::create());
  const config::DomainConfig short_one = TRY(describe("short", "hull.do=facts"));
  const config::DomainConfig endless_one = TRY(describe("endless", "hull.end=hang"));
  const auto first = TRY(vmm::Domain::create(loop, short_one, {}));
  const auto second = TRY(vmm::Domain::create(loop, endless_one, {}));

  // Orders may be given from within an event; the states that they lead to are events again.
  first->on_event([&](vmm::DomainState state) {
    tell("short", *first);
    if (state == vmm::DomainState::kEnded)
      second->end({.kind = vmm::EndKind::kForced, .detail = "the short one is done"});
  });
  second->on_event([&](vmm::DomainState state) {
    tell("endless", *second);
    if (state == vmm::DomainState::kEnded) loop.stop();
  });
  TRY(second->start());
  TRY(first->start());
  TRY(loop.run());
  TRY(first->close());
  return second->close();
}

}  // namespace

int main() {
  // As the library asks: a closed pipe comes back as an error.
  std::signal(SIGPIPE, SIG_IGN);
  const Result<void> done = run_two();
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}

// A host that loses power: of what no flush covers anything may be stored, or parts of it.
#include "tests/pairs/host.h"
#include "tests/support/sanitizers.h"

namespace hull::pairs {

using testing::FaultPlan;
using testing::kSubjectFiles;
using testing::Qcow2Subject;
using testing::SubjectFiles;
using testing::SubjectState;

namespace {

enum class Loss : uint8_t { kTail, kAny, kTorn };

SubjectFiles replay(const FaultPlan& plan, SubjectFiles files, size_t count, Loss loss,
                    std::mt19937& random) {
  for (unsigned file = 0; file < kSubjectFiles; ++file) {
    testing::Bytes& bytes = files[file];
    if (loss == Loss::kTail) bytes = plan.replay(std::move(bytes), count, file);
    if (loss == Loss::kTorn) bytes = plan.replay_torn(std::move(bytes), count, random, file);
    if (loss == Loss::kAny)
      bytes = plan.replay_reordered(
          std::move(bytes), count, [&](size_t) { return random() % 2 != 0; }, file);
  }
  return files;
}

}  // namespace

std::string judge_crashes(Cell& cell, const FaultPlan& plan, const SubjectFiles& start,
                          const SubjectState& before, const SubjectState& after) {
  const uint64_t wanted = cell.options.effort * (cell.geometry.encrypted ? 2 : 4);
  for (size_t i = 0; i <= plan.log.size(); ++i) {
    const bool boundary = i == plan.log.size() || plan.log[i].kind == FaultPlan::Kind::kFlush;
    if (cell.below(1 + plan.log.size() / wanted / (boundary ? 4 : 1)) != 0) continue;
    for (const Loss loss : {Loss::kTail, Loss::kAny, Loss::kTorn}) {
      const SubjectFiles files = replay(plan, start, i, loss, cell.random);
      ++cell.counts.crash_states;
      const std::string trouble = judge_survivor(cell.geometry, files, before, after);
      if (!trouble.empty())
        return fmt::format("{} (crash before operation {} of {}, {})", trouble, i, plan.log.size(),
                           loss == Loss::kTail  ? "all of them stored"
                           : loss == Loss::kAny ? "some of them lost"
                                                : "some of them torn");
    }
  }
  return "";
}

std::string run_crash(Cell& cell) {
  CellHost host(cell);
  std::mt19937 random(cell.random());
  FaultPlan plan;
  Qcow2Subject subject(cell.geometry, random, &plan, host.get());
  const std::vector<std::string> acts = acts_of(cell);
  std::string history;
  const unsigned rounds = testing::kSanitizerFactor == 1 ? 3 : 1;
  for (unsigned round = 0; round < rounds; ++round) {
    const std::string& name = acts[cell.below(acts.size())];
    history += ", " + name;
    std::string trouble = prepare(subject, cell, name);
    if (!trouble.empty()) return trouble + history;
    const SubjectFiles start = subject.current_files();
    const SubjectState before = subject.state();
    plan.log.clear();
    const bool beside = name == "requests" || name.starts_with("beside");
    trouble = act(subject, name);
    if (trouble.empty())
      trouble =
          judge_crashes(cell, plan, start, before, beside ? subject.wanted() : subject.state());
    if (!trouble.empty()) return trouble + history;
  }
  return "";
}

}  // namespace hull::pairs

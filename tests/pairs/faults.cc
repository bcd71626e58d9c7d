// A host that has no room, or cannot read or write: what was there before stays, what is
// acknowledged is kept, and all goes on when the fault has gone.
#include "tests/pairs/host.h"
#include "tests/support/faulty_engine.h"
#include "tests/support/sanitizers.h"

namespace hull::pairs {

using testing::FaultPlan;
using testing::kImageFile;
using testing::Qcow2Subject;
using testing::SubjectState;

namespace {

using Arm = std::function<void(FaultPlan&, testing::LocalHost*)>;

struct Attempt {
  const std::string& name;  // of the act
  unsigned seed;
  const SubjectState& after;  // what the act leads to if nothing fails
};

std::string trouble_afterwards(Qcow2Subject& subject) {
  std::string trouble = subject.verify();
  if (trouble.empty()) trouble = subject.trace(8, 4);
  if (trouble.empty() && subject.failed()) trouble = "requests fail when the fault has gone";
  if (trouble.empty()) trouble = subject.reopen();
  if (trouble.empty() && subject.failed()) trouble = "the image cannot be opened again";
  return trouble.empty() ? subject.verify() : trouble;
}

bool was_met(const Cell& cell, const FaultPlan& plan, testing::LocalHost* host) {
  if (cell.column == Column::kNoSpace) return plan.full;
  const auto* const engine = host == nullptr ? nullptr : host->faulty_engine();
  return plan.fail_at + plan.fail_read_at + (engine == nullptr ? 0 : engine->fail_at) == 0;
}

// `hit`: whether the fault was met.
std::string attempt(Cell& cell, const Attempt& what, const Arm& arm, const Arm& disarm, bool& hit) {
  CellHost host(cell);
  std::mt19937 random(what.seed);
  FaultPlan plan;
  Qcow2Subject subject(cell.geometry, random, &plan, host.get());
  std::string trouble = prepare(subject, cell, what.name);
  if (!trouble.empty()) return trouble;
  const SubjectState before = subject.state();
  subject.allow_failures();
  arm(plan, host.get());
  trouble = act(subject, what.name);
  // Also if nobody had to be told, as with a hint that was not taken.
  hit = subject.failed() || was_met(cell, plan, host.get());
  disarm(plan, host.get());
  if (host.get() != nullptr) host.get()->run();
  if (hit) ++cell.counts.faults;
  if (!trouble.empty()) return trouble;
  const bool beside = what.name == "requests" || what.name.starts_with("beside");
  trouble = judge_survivor(cell.geometry, subject.current_files(), before,
                           beside ? subject.wanted() : what.after);
  if (!trouble.empty() || !subject.is_open()) return trouble;
  // A change that could not be read to its end may have been made all the same, and what was to be
  // cut off may be gone.
  if (hit && !beside && (cell.column == Column::kIoError || what.name == "resize")) return "";
  return trouble_afterwards(subject);
}

// Where guest data goes; a data file is full wherever it has holes.
unsigned growing_file(const Cell& cell) {
  return cell.geometry.data_file == testing::SubjectGeometry::DataFile::kNone ? kImageFile
                                                                              : testing::kDataFile;
}

// What comes of the act, and how long that file is before and after it.
std::string rehearse(Cell& cell, const std::string& name, unsigned seed, SubjectState& after,
                     std::pair<uint64_t, uint64_t>& bytes) {
  CellHost host(cell);
  std::mt19937 random(seed);
  Qcow2Subject subject(cell.geometry, random, nullptr, host.get());
  std::string trouble = prepare(subject, cell, name);
  if (!trouble.empty()) return trouble;
  const unsigned file = growing_file(cell);
  if (file == kImageFile) bytes.first = subject.current_files()[file].size();
  trouble = act(subject, name);
  after = subject.state();
  bytes.second = subject.current_files()[file].size();
  return trouble;
}

// From the first to the last of what is counted, in steps. Allocations are few.
unsigned step_of(const Cell& cell) {
  const unsigned step =
      (cell.column == Column::kNoSpace ? 3 : 12) * (cell.geometry.encrypted ? 2 : 1);
  return std::max(1U, step * (testing::kSanitizerFactor == 1 ? 1 : 3) / cell.options.effort);
}

std::string at_each(Cell& cell, const Attempt& what, const std::string& kind,
                    const std::function<void(FaultPlan&, testing::LocalHost*, unsigned)>& arm,
                    const Arm& disarm) {
  const unsigned step = step_of(cell);
  bool hit = true;
  for (auto at = static_cast<unsigned>(1 + cell.below(step)); hit; at += step + at / 12) {
    hit = false;
    const std::string trouble = attempt(
        cell, what, [&](FaultPlan& plan, testing::LocalHost* host) { arm(plan, host, at); }, disarm,
        hit);
    if (!trouble.empty()) return fmt::format("{} ({} {}, {})", trouble, kind, at, what.name);
  }
  return "";
}

void clear(FaultPlan& plan) {
  plan.room_bytes = plan.full_at = plan.fail_at = plan.fail_read_at = 0;
  plan.full = plan.room_is_known = false;
}

}  // namespace

namespace {

std::string fill_up(Cell& cell, const std::string& name) {
  SubjectState after;
  std::pair<uint64_t, uint64_t> bytes;
  const auto seed = static_cast<unsigned>(cell.random());
  std::string trouble = rehearse(cell, name, seed, after, bytes);
  if (!trouble.empty()) return trouble + ", " + name;
  const Attempt what{name, seed, after};
  const Arm disarm = [](FaultPlan& plan, testing::LocalHost*) { clear(plan); };
  trouble = at_each(
      cell, what, "allocation",
      [](FaultPlan& plan, testing::LocalHost*, unsigned at) { plan.full_at = at; }, disarm);
  if (!trouble.empty()) return trouble;
  // And the file system that is full, as whoever writes to it finds out.
  const uint64_t cluster = uint64_t{1} << cell.geometry.cluster_bits;
  const uint64_t clusters = bytes.second > bytes.first ? (bytes.second - bytes.first) / cluster : 0;
  for (uint64_t more = cell.below(step_of(cell)); more < clusters; more += step_of(cell)) {
    const uint64_t room = std::max<uint64_t>(1, bytes.first / cluster * cluster + more * cluster);
    const bool known = cell.below(2) == 0;
    bool hit = false;
    trouble = attempt(
        cell, what,
        [&](FaultPlan& plan, testing::LocalHost*) {
          plan.room_bytes = room;
          plan.room_is_known = known;
          plan.room_file = growing_file(cell);
        },
        disarm, hit);
    if (!trouble.empty())
      return fmt::format("{} (room for {:#x} bytes{}, {})", trouble, room, known ? ", known" : "",
                         name);
  }
  return "";
}

}  // namespace

std::string run_no_space(Cell& cell) {
  const std::vector<std::string> acts = acts_of(cell);
  const std::string trouble = fill_up(cell, "requests");
  return trouble.empty() ? fill_up(cell, acts[cell.below(acts.size())]) : trouble;
}

std::string run_io_error(Cell& cell) {
  const std::vector<std::string> acts = acts_of(cell);
  const std::string name = acts[cell.below(acts.size())];
  SubjectState after;
  std::pair<uint64_t, uint64_t> bytes;
  const auto seed = static_cast<unsigned>(cell.random());
  std::string trouble = rehearse(cell, name, seed, after, bytes);
  if (!trouble.empty()) return trouble + ", " + name;
  const Attempt what{name, seed, after};
  const Arm disarm = [](FaultPlan& plan, testing::LocalHost* host) {
    clear(plan);
    if (host != nullptr && host->faulty_engine() != nullptr) host->faulty_engine()->fail_at = 0;
  };
  trouble = at_each(
      cell, what, "change",
      [](FaultPlan& plan, testing::LocalHost* host, unsigned at) {
        // A flush that the kernel has failed fails for ever: that is the other engine's run.
        if (host != nullptr && host->faulty_engine() != nullptr) {
          host->faulty_engine()->fail_at = at;
          host->faulty_engine()->max_transfer_bytes = 4096;
        } else {
          plan.fail_at = at;
        }
        plan.error = at % 2 == 0 ? ENOSPC : EIO;
        plan.torn_bytes = at % 3 * 700;
      },
      disarm);
  if (!trouble.empty()) return trouble;
  return at_each(
      cell, what, "read",
      [](FaultPlan& plan, testing::LocalHost*, unsigned at) { plan.fail_read_at = at; }, disarm);
}

}  // namespace hull::pairs

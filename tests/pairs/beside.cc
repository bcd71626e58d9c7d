// Others: requests in the same clusters, a program that has the image, a host that has limits, and
// what was in the file before.
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <future>
#include <thread>

#include "base/endian.h"
#include "tests/pairs/host.h"
#include "tests/support/refused_threads.h"
#include "tests/support/sanitizers.h"

namespace hull::pairs {

using blockcore::IoEngineKind;
using testing::Bytes;
using testing::FaultPlan;
using testing::kImageFile;
using testing::LocalHost;
using testing::LocalHostOptions;
using testing::Qcow2Subject;
using testing::SubjectFiles;
using testing::SubjectState;

std::string run_neighbour(Cell& cell) {
  CellHost host(cell);
  std::mt19937 random(cell.random());
  Qcow2Subject subject(cell.geometry, random, nullptr, host.get());
  subject.crowd();
  const std::vector<std::string> acts = acts_of(cell);
  const unsigned rounds = 2 + 2 * cell.options.effort / testing::kSanitizerFactor;
  std::string history;
  for (unsigned round = 0; round < rounds; ++round) {
    const std::string& name = acts[cell.below(acts.size())];
    history += ", " + name;
    std::string trouble = subject.trace(60, 20);
    if (trouble.empty()) trouble = subject.verify();
    if (trouble.empty()) trouble = act(subject, name);
    if (trouble.empty()) trouble = subject.verify();
    if (!trouble.empty()) return trouble + history;
  }
  std::string trouble = subject.close();
  if (trouble.empty() && !cell.geometry.encrypted) trouble = subject.verify_snapshots();
  return trouble.empty() ? "" : trouble + history;
}

namespace {

// Waits until the image is free, as any user of it does.
std::string use_after(const Cell& cell, LocalHost& host, std::mt19937& random, bool read_only,
                      const SubjectState& left, std::promise<void>& waits) {
  testing::ShuffleQueue queue;
  // Opened by whoever asks first: the image, then what it names.
  class Existing : public testing::SubjectHost {
   public:
    Existing(LocalHost& local, bool only_read) : host_(local), read_only_(only_read) {}
    Result<std::unique_ptr<blockcore::File>> open(unsigned index, const Bytes&) override {
      return host_.open_existing(index, read_only_);
    }
    Bytes contents(unsigned index) const override { return host_.contents(index); }
    void run() override { host_.run(); }

   private:
    LocalHost& host_;
    const bool read_only_;
  } existing(host, read_only);
  waits.set_value();
  auto opened = open_subject(cell.geometry, {}, queue, nullptr, &existing);
  // On a slow host the first user takes longer than the second one's patience.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!opened && opened.error().kind() == ErrorKind::kBusy &&
         std::chrono::steady_clock::now() < deadline)
    opened = open_subject(cell.geometry, {}, queue, nullptr, &existing);
  if (!opened) return "the second user: open: " + opened.error().message();
  Bytes model = left.disk;
  testing::DiskTrace trace(*opened->disk, model, queue, random);
  std::string trouble = trace.verify();
  if (trouble.empty() && !read_only) trouble = trace.run(30, 5);
  if (trouble.empty()) trouble = trace.verify();
  if (trouble.empty())
    if (const auto closed = run_queue(queue, opened->disk->close()); !closed)
      trouble = "close: " + closed.error().message();
  opened->disk.reset();
  if (trouble.empty()) trouble = testing::trouble_in_image(host.contents(kImageFile), false);
  return trouble.empty() ? "" : "the second user: " + trouble;
}

}  // namespace

std::string run_lock_wait(Cell& cell) {
  LocalHostOptions options = pick_host(cell);
  options.lock = true;
  CellHost host(options);
  LocalHost second(host.directory(), options);
  std::mt19937 random(cell.random());
  std::mt19937 second_random(cell.random());
  Qcow2Subject subject(cell.geometry, random, nullptr, host.get());
  std::string trouble = subject.trace(6, 3);
  if (!trouble.empty()) return trouble;

  SubjectState left;
  std::promise<void> waits;
  std::string outcome;
  std::thread other([&] {
    outcome = use_after(cell, second, second_random, cell.options.seed % 3 == 0, left, waits);
  });
  waits.get_future().wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  trouble = subject.trace(20, 4);
  if (trouble.empty() && cell.geometry.data_file == testing::SubjectGeometry::DataFile::kNone)
    trouble = subject.change("create_snapshot");
  if (trouble.empty()) trouble = subject.trace(20, 4);
  left = subject.state();
  // The files become free only here.
  const std::string closed = subject.close();
  other.join();
  if (trouble.empty()) trouble = closed;
  return trouble.empty() ? outcome : trouble;
}

namespace {

// The process's own limit, put back at the end.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    CHECK(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    rlimit limit = before_;
    limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
    CHECK(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    CHECK(::setrlimit(RLIMIT_FSIZE, &before_) == 0);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

std::string run_host_limit(Cell& cell) {
  LocalHostOptions options = pick_host(cell);
  const uint64_t kind = cell.below(4);
  if (kind >= 2) options.engine = IoEngineKind::kThreads;
  std::optional<testing::FewThreads> few;
  if (kind >= 2) few.emplace(static_cast<int>(kind - 2));
  CellHost host(options);
  std::mt19937 random(cell.random());
  Qcow2Subject subject(cell.geometry, random, nullptr, host.get());
  std::string trouble = subject.trace(6, 3);
  if (trouble.empty()) trouble = subject.flush();
  if (!trouble.empty()) return trouble;
  const uint64_t now = subject.current_files()[kImageFile].size();
  if (kind < 2) {
    const FileSizeLimit limit(now + cell.below(cell.geometry.size_bytes));
    subject.allow_failures();
    trouble = subject.trace(30, 6);
    cell.counts.faults += subject.failed() ? 1 : 0;
  } else {
    trouble = subject.trace(30, 12);
    if (subject.failed()) trouble = "a request has failed for want of a thread";
  }
  if (trouble.empty()) trouble = subject.verify();
  if (trouble.empty()) trouble = subject.trace(8, 4);
  if (trouble.empty() && subject.failed()) trouble = "requests fail when the limit has gone";
  if (trouble.empty()) trouble = subject.reopen();
  if (trouble.empty()) trouble = subject.verify();
  return trouble.empty() ? subject.close() : trouble;
}

namespace {

template <class T>
uint64_t field(const Bytes& image, uint64_t offset) {
  T raw;
  CHECK(offset + sizeof raw <= image.size());
  std::memcpy(&raw, image.data() + offset, sizeof raw);
  return raw;
}

bool is_counted(const Bytes& image, uint64_t block, uint64_t index, uint32_t order) {
  const uint64_t bit = index << order;
  const uint8_t* const bytes = image.data() + block + bit / 8;
  if (order < 3) return (*bytes >> bit % 8 & ((1U << (1U << order)) - 1)) != 0;
  return std::any_of(bytes, bytes + (size_t{1} << order) / 8, [](uint8_t one) { return one != 0; });
}

// Header fields by their offsets in the specification.
void fill_unused_clusters(Bytes& image, std::mt19937& random) {
  const auto bits = static_cast<uint32_t>(field<Be32>(image, 20));
  const uint64_t table = field<Be64>(image, 48);
  const uint64_t table_entries = (field<Be32>(image, 56) << bits) / 8;
  const auto order = static_cast<uint32_t>(field<Be32>(image, 4) < 3 ? 4 : field<Be32>(image, 96));
  const uint64_t per_block = (uint64_t{8} << bits) >> order;
  const Bytes before = image;
  for (uint64_t cluster = 0; (cluster + 1) << bits <= before.size(); ++cluster) {
    const uint64_t entry = cluster / per_block;
    const uint64_t block = entry < table_entries ? field<Be64>(before, table + entry * 8) : 0;
    if (block != 0 && is_counted(before, block, cluster % per_block, order)) continue;
    testing::fill_random(random, std::span(image).subspan(cluster << bits, size_t{1} << bits));
  }
}

}  // namespace

std::string run_stale(Cell& cell) {
  CellHost host(cell);
  std::mt19937 random(cell.random());
  FaultPlan plan;
  Qcow2Subject subject(cell.geometry, random, &plan, host.get());
  const std::vector<std::string> acts = acts_of(cell);
  std::string history;
  const unsigned rounds = testing::kSanitizerFactor == 1 ? 3 : 2;
  for (unsigned round = 0; round < rounds; ++round) {
    const std::string name = acts[cell.below(acts.size())];
    history += ", " + name;
    std::string trouble = prepare(subject, cell, name);
    if (trouble.empty()) trouble = subject.close();
    if (!trouble.empty()) return trouble + history;
    fill_unused_clusters(subject.closed_files()[kImageFile], random);
    trouble = subject.reopen();
    if (trouble.empty()) trouble = subject.verify();
    if (!trouble.empty()) return trouble + history + " (noise)";
    const SubjectFiles start = subject.current_files();
    const SubjectState before = subject.state();
    plan.log.clear();
    const bool beside = name == "requests" || name.starts_with("beside");
    trouble = act(subject, name);
    const SubjectState after = beside ? subject.wanted() : subject.state();
    if (trouble.empty()) trouble = subject.verify();
    if (trouble.empty()) trouble = judge_crashes(cell, plan, start, before, after);
    if (!trouble.empty()) return trouble + history;
  }
  return subject.close();
}

}  // namespace hull::pairs

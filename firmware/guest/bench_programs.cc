// bench.blk: block requests with a given number in flight. Nothing in the loop leaves the guest but
// the notifications that the device asks for. Serial lines before and after let the host take the
// time too.
#include "firmware/guest/block.h"
#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/memory.h"
#include "firmware/guest/program.h"
#include "firmware/guest/random.h"

namespace hull::guest {
namespace {

class BlockBench {
 public:
  explicit BlockBench(const Args& args)
      : args_(args),
        type_(args.text("op", "read") == "write" ? kBlkOut : kBlkIn),
        random_(args.text("pattern", "random") == "random"),
        size_(static_cast<uint32_t>(args.number("size", 4096))),
        depth_(args.number("depth", 1)),
        ops_(args.number("ops", args.has("ms") ? ~uint64_t{0} : 1000)),
        numbers_(args.number("seed", 1)) {}

  Failure run();

 private:
  Failure prepare();
  Failure loop(const Deadline& deadline);
  Failure submit_next(uint8_t* buffer);
  uint64_t next_sector();

  const Args& args_;
  uint32_t type_;
  bool random_;
  uint32_t size_;
  uint64_t depth_;
  uint64_t ops_;
  Random numbers_;
  BlockDevice device_;
  uint64_t start_ = 0;
  uint64_t places_ = 0;  // requests that fit into the range
  uint64_t submitted_ = 0;
  uint64_t completed_ = 0;
  uint8_t* buffer_of_[kMaxQueueSize];  // by token
};

Failure BlockBench::prepare() {
  if (size_ == 0 || size_ % kSectorSize != 0) return "size is not a multiple of 512";
  if (Failure failure = device_.open(args_)) return failure;
  start_ = args_.number("start", 0);
  places_ = args_.number("count", device_.sectors() - start_) / (size_ / kSectorSize);
  if (places_ == 0) return "the range is smaller than one request";
  for (uint64_t i = 0; i < depth_ && i < ops_; i++) {
    auto* buffer = static_cast<uint8_t*>(allocate(size_));
    if (buffer == nullptr) return "no memory for buffers";
    if (Failure failure = submit_next(buffer)) return failure;
  }
  return nullptr;
}

uint64_t BlockBench::next_sector() {
  const uint64_t place = random_ ? numbers_.below(places_) : submitted_ % places_;
  return start_ + place * (size_ / kSectorSize);
}

Failure BlockBench::submit_next(uint8_t* buffer) {
  uint16_t token;
  if (!device_.submit(type_, next_sector(), buffer, size_, token))
    return "depth is too large for the queue";
  buffer_of_[token] = buffer;
  submitted_++;
  return nullptr;
}

Failure BlockBench::loop(const Deadline& deadline) {
  device_.queue().kick();
  while (completed_ < submitted_) {
    uint16_t token;
    uint8_t status;
    if (!device_.collect(token, status)) {
      device_.queue().kick();
      if (Failure failure = device_.queue().idle()) return failure;
      continue;
    }
    completed_++;
    if (status != kBlkOk) return "a request failed";
    if (submitted_ == ops_ || (ops_ == ~uint64_t{0} && deadline.passed())) continue;
    if (Failure failure = submit_next(buffer_of_[token])) return failure;
  }
  return nullptr;
}

Failure BlockBench::run() {
  if (Failure failure = prepare()) return failure;
  Line("bench.blk").words("begin");
  const uint64_t before = read_tsc();
  if (Failure failure = loop(Deadline(args_.number("ms", 0)))) return failure;
  const uint64_t cycles = read_tsc() - before;
  const uint64_t us = cycles_to_us(cycles) + 1;
  Line("bench.blk")
      .words("end")
      .text("op", type_ == kBlkOut ? "write" : "read")
      .text("pattern", random_ ? "random" : "seq")
      .number("size", size_)
      .number("depth", depth_)
      .number("ops", completed_)
      .number("cycles", cycles)
      .number("us", us)
      .number("ops-per-s", completed_ * 1'000'000 / us)
      .number("kib-per-s", completed_ * (size_ / kSectorSize) * 500'000 / us)
      .number("kicks", device_.queue().kicks());
  return nullptr;
}

Failure bench_block(const Args& args) { return BlockBench(args).run(); }

constexpr Program kPrograms[] = {{"bench.blk", bench_block}};

}  // namespace

std::span<const Program> bench_programs() { return kPrograms; }

}  // namespace hull::guest

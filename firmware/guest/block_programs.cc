// blk.*: what the host can check afterwards. The pattern: the i-th 8-byte little-endian word of
// sector s (i = 0 … 63) is seed + (64 s + i) * 0x9e3779b97f4a7c15 modulo 2^64.
#include <cstring>

#include "firmware/guest/block.h"
#include "firmware/guest/console.h"
#include "firmware/guest/memory.h"
#include "firmware/guest/program.h"

namespace hull::guest {
namespace {

constexpr uint64_t kFactor = 0x9e3779b97f4a7c15;
constexpr uint32_t kWordsPerSector = kSectorSize / 8;
constexpr uint64_t kChunkSectors = 256;
constexpr uint32_t kRandomSectors = 8;        // one write of blk.random
constexpr uint64_t kRandomStep = 2654435761;  // prime: consecutive writes go to different places

void make_pattern(uint64_t seed, uint64_t sector, uint64_t sectors, uint64_t* words) {
  uint64_t value = seed + sector * kWordsPerSector * kFactor;
  for (uint64_t i = 0; i < sectors * kWordsPerSector; i++, value += kFactor) words[i] = value;
}

// An open device with a buffer of one chunk, and the range of the arguments: start=, count=
// (sectors).
struct Job {
  BlockDevice device;
  uint64_t start = 0;
  uint64_t count = 0;
  uint64_t* buffer = nullptr;

  Failure open(const Args& args) {
    if (Failure failure = device.open(args)) return failure;
    start = args.number("start", 0);
    count = args.number("count", device.sectors() - start);
    buffer = static_cast<uint64_t*>(allocate(kChunkSectors * kSectorSize));
    return buffer == nullptr ? "no memory for a buffer" : nullptr;
  }

  // Calls step(sector, sectors) for each chunk of the range.
  template <class Step>
  Failure for_each_chunk(Step step) {
    for (uint64_t done = 0; done < count;) {
      const uint64_t sectors = count - done < kChunkSectors ? count - done : kChunkSectors;
      if (Failure failure = step(start + done, sectors)) return failure;
      done += sectors;
    }
    return nullptr;
  }
  Failure transfer(uint32_t type, uint64_t sector, uint64_t sectors) {
    return device.run_ok(type, sector, buffer, static_cast<uint32_t>(sectors * kSectorSize));
  }
};

Failure info(const Args& args) {
  BlockDevice device;
  if (Failure failure = device.open(args)) return failure;
  char id[21] = {};
  if (Failure failure = device.run_ok(kBlkGetId, 0, id, 20)) return failure;
  Line("blk.info")
      .number("sectors", device.sectors())
      .text("id", id)
      .number("readonly", device.transport().has(kBlkReadOnly))
      .number("flush", device.transport().has(kBlkFlush))
      .number("discard", device.transport().has(kBlkDiscard))
      .number("write-zeroes", device.transport().has(kBlkWriteZeroes))
      .number("queue-size", device.queue().size());
  return nullptr;
}

Failure fill(const Args& args) {
  Job job;
  if (Failure failure = job.open(args)) return failure;
  const uint64_t seed = args.number("seed", 1);
  return job.for_each_chunk([&](uint64_t sector, uint64_t sectors) {
    make_pattern(seed, sector, sectors, job.buffer);
    return job.transfer(kBlkOut, sector, sectors);
  });
}

Failure verify(const Args& args) {
  Job job;
  if (Failure failure = job.open(args)) return failure;
  const bool zeroes = args.has("zero");
  const uint64_t seed = args.number("seed", 1);
  auto* expected = static_cast<uint64_t*>(allocate(kChunkSectors * kSectorSize));
  if (expected == nullptr) return "no memory for a buffer";
  return job.for_each_chunk([&](uint64_t sector, uint64_t sectors) -> Failure {
    if (!zeroes) make_pattern(seed, sector, sectors, expected);
    if (Failure failure = job.transfer(kBlkIn, sector, sectors)) return failure;
    for (uint64_t i = 0; i < sectors * kWordsPerSector; i++) {
      if (job.buffer[i] == expected[i]) continue;
      Line("blk.verify")
          .number("sector", sector + i / kWordsPerSector)
          .hex("is", job.buffer[i])
          .hex("not", expected[i]);
      return "other contents";
    }
    return nullptr;
  });
}

// CRC-32 as zlib's crc32().
uint32_t add_to_crc(uint32_t crc, const uint8_t* bytes, uint64_t size) {
  static uint32_t table[256];
  if (table[1] == 0) {
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320 : 0);
      table[i] = value;
    }
  }
  crc = ~crc;
  for (uint64_t i = 0; i < size; i++) crc = table[(crc ^ bytes[i]) & 0xff] ^ (crc >> 8);
  return ~crc;
}

Failure sum(const Args& args) {
  Job job;
  if (Failure failure = job.open(args)) return failure;
  uint32_t crc = 0;
  Failure failure = job.for_each_chunk([&](uint64_t sector, uint64_t sectors) {
    Failure read = job.transfer(kBlkIn, sector, sectors);
    crc = add_to_crc(crc, reinterpret_cast<const uint8_t*>(job.buffer), sectors * kSectorSize);
    return read;
  });
  if (failure == nullptr)
    Line("blk.sum").number("start", job.start).number("count", job.count).hex("crc32", crc);
  return failure;
}

Failure copy(const Args& args) {
  Job job;
  if (Failure failure = job.open(args)) return failure;
  BlockDevice target;
  if (Failure failure = target.open(args.number("to", 1))) return failure;
  const uint64_t at = args.number("at", 0);
  return job.for_each_chunk([&](uint64_t sector, uint64_t sectors) {
    if (Failure failure = job.transfer(kBlkIn, sector, sectors)) return failure;
    return target.run_ok(kBlkOut, at + sector - job.start, job.buffer,
                         static_cast<uint32_t>(sectors * kSectorSize));
  });
}

Failure flush(const Args& args) {
  BlockDevice device;
  if (Failure failure = device.open(args)) return failure;
  return device.run_ok(kBlkFlushRequest, 0, nullptr, 0);
}

Failure change_range(const Args& args, uint32_t type, uint32_t flags) {
  BlockDevice device;
  if (Failure failure = device.open(args)) return failure;
  BlockRange range{args.number("start", 0), static_cast<uint32_t>(args.number("count", 8)), flags};
  return device.run_ok(type, 0, &range, sizeof(range));
}

Failure write_zeroes(const Args& args) {
  return change_range(args, kBlkWriteZeroesRequest, args.has("unmap") ? 1 : 0);
}
Failure discard(const Args& args) { return change_range(args, kBlkDiscardRequest, 0); }

// Write number n (from first=, 1 by default) goes to the place n * kRandomStep mod (count / 8), in
// units of 8 sectors from start=, with the pattern of seed n. After each flush: the last n that
// must survive.
Failure random_writes(const Args& args) {
  Job job;
  if (Failure failure = job.open(args)) return failure;
  const uint64_t first = args.number("first", 1);
  const uint64_t last = first + args.number("writes", 1000) - 1;
  const uint64_t flush_every = args.number("flush", 16);
  const uint64_t places = job.count / kRandomSectors;
  if (places == 0 || flush_every == 0) return "bad arguments";
  for (uint64_t n = first; n <= last; n++) {
    const uint64_t sector = job.start + n * kRandomStep % places * kRandomSectors;
    make_pattern(n, sector, kRandomSectors, job.buffer);
    if (Failure failure = job.transfer(kBlkOut, sector, kRandomSectors)) return failure;
    if ((n - first + 1) % flush_every != 0 && n != last) continue;
    if (Failure failure = job.device.run_ok(kBlkFlushRequest, 0, nullptr, 0)) return failure;
    Line("blk.random").number("acked", n);
  }
  return nullptr;
}

Failure expect_io_error(BlockDevice& device, uint32_t type, uint64_t sector, void* data,
                        uint32_t length) {
  uint8_t status = kBlkNoStatus;
  if (Failure failure = device.run(type, sector, data, length, status)) return failure;
  return status == kBlkIoError ? nullptr : "expected IOERR";
}

// Requests that begin, end or wrap past the end.
Failure past_end(const Args& args) {
  Job job;
  if (Failure failure = job.open(args)) return failure;
  const uint64_t end = job.device.sectors();
  const uint64_t starts[] = {end, end - 1, end + 1, uint64_t{1} << 55, ~uint64_t{0}};
  for (uint32_t type : {kBlkIn, kBlkOut}) {
    for (uint64_t sector : starts) {
      if (Failure failure = expect_io_error(job.device, type, sector, job.buffer, 2 * kSectorSize))
        return failure;
    }
  }
  return job.transfer(kBlkIn, end - 1, 1);
}

Failure write_to_read_only(const Args& args) {
  Job job;
  if (Failure failure = job.open(args)) return failure;
  if (!job.device.transport().has(kBlkReadOnly)) return "the device is not read-only";
  if (Failure failure = expect_io_error(job.device, kBlkOut, 0, job.buffer, kSectorSize))
    return failure;
  return job.transfer(kBlkIn, 0, 1);
}

constexpr Program kPrograms[] = {
    {"blk.info", info},         {"blk.fill", fill},
    {"blk.verify", verify},     {"blk.sum", sum},
    {"blk.flush", flush},       {"blk.zeroes", write_zeroes},
    {"blk.discard", discard},   {"blk.random", random_writes},
    {"blk.past-end", past_end}, {"blk.readonly", write_to_read_only},
    {"blk.copy", copy},
};

}  // namespace

std::span<const Program> block_programs() { return kPrograms; }

}  // namespace hull::guest

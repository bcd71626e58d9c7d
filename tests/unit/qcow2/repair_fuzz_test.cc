// Images with fields damaged at random, repaired: what a disk and its snapshots could be read as
// before, they read as after, whatever the repair took for what; and an image that it calls whole
// keeps that when it is written to.
//
// A few hundred seeds by default. HULL_REPAIR_SEEDS=FIRST:COUNT runs others, for hours; a failure
// names its seed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/endian.h"
#include "base/log.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/data/compressor.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using qcow2::Repair;
using testing::Bytes;
using testing::MemoryFile;
using testing::run_now;

constexpr uint64_t kMaxDiskBytes = 16 << 20;
constexpr uint64_t kMaxFileBytes = 256 << 20;
constexpr uint64_t kGranule = 512;

using Random = std::mt19937_64;

uint64_t word(const Bytes& image, uint64_t offset) {
  Be64 raw{};
  if (offset <= image.size() && image.size() - offset >= sizeof raw)
    std::memcpy(&raw, image.data() + offset, sizeof raw);
  return raw;
}

// What every sector reads as; absent: it cannot be read.
using Contents = std::vector<std::optional<Bytes>>;

Contents read_contents(const Bytes& image, std::optional<SnapshotChoice> snapshot) {
  Contents contents;
  auto disk = testing::open_qcow2(image, {.read_only = true, .snapshot = std::move(snapshot)});
  if (!disk || (*disk)->size_bytes() > kMaxDiskBytes) return contents;
  const uint64_t size = (*disk)->size_bytes() / kGranule * kGranule;
  constexpr uint64_t kStep = 64 << 10;
  for (uint64_t at = 0; at < size; at += kStep) {
    const uint64_t length = std::min(kStep, size - at);
    const auto whole = testing::read_disk(**disk, at, length);
    for (uint64_t sector = 0; sector < length; sector += kGranule) {
      if (!whole) {
        auto part = testing::read_disk(**disk, at + sector, kGranule);
        contents.push_back(part ? std::optional(*std::move(part)) : std::nullopt);
        continue;
      }
      const auto first = whole->begin() + static_cast<ptrdiff_t>(sector);
      contents.emplace_back(Bytes(first, first + kGranule));
    }
  }
  return contents;
}

struct Views {
  Contents disk;
  std::vector<Contents> snapshots;
};

Views read_views(const Bytes& image) {
  Views views{read_contents(image, std::nullopt), {}};
  for (const char* const name : {"one", "two"})
    views.snapshots.push_back(read_contents(image, SnapshotChoice{.name = name}));
  return views;
}

// nullopt: nothing that could be read has changed.
std::optional<size_t> first_loss(const Contents& before, const Contents& after) {
  for (size_t i = 0; i < before.size(); ++i)
    if (before[i] && (i >= after.size() || before[i] != after[i])) return i;
  return std::nullopt;
}

Bytes random_data(Random& random, size_t bytes) {
  Bytes data(bytes);
  const uint64_t kind = random() % 4;
  if (kind == 0) {
    std::ranges::fill(data, static_cast<uint8_t>(random()));
    return data;
  }
  for (size_t at = 0; at + 8 <= bytes; at += 8) {
    uint64_t value = random();
    if (kind == 1) value = random() % 512 << 9 | random() % 2;  // like entries of a table
    if (kind == 2) value = random() % 64 << 16 | 1 | (random() % 2 << 63);
    const Be64 raw = value;
    std::memcpy(data.data() + at, &raw, sizeof raw);
  }
  return data;
}

void write_compressed(Qcow2Disk& disk, Random& random, uint64_t cluster, uint64_t bytes) {
  Bytes data(bytes, static_cast<uint8_t>(random()));
  data[random() % bytes] = 0x77;
  Bytes stream(bytes);
  qcow2::Compressor compressor(qcow2::CompressionType::kZlib);
  const size_t length = compressor.compress(std::as_bytes(std::span(data)),
                                            std::as_writable_bytes(std::span(stream)));
  if (length == 0) return;
  const qcow2::CompressedCluster one{cluster * bytes,
                                     std::as_bytes(std::span(stream)).first(length)};
  CHECK(run_now(disk.write_compressed({&one, 1})).has_value());
}

void write_some(Qcow2Disk& disk, Random& random, uint64_t cluster_bytes, unsigned steps) {
  const uint64_t size = disk.size_bytes();
  for (unsigned i = 0; i < steps; ++i) {
    const uint64_t at = random() % size / 512 * 512;
    const uint64_t length = std::min(size - at, 512 * (1 + random() % (cluster_bytes / 128)));
    switch (random() % 5) {
      case 0: (void)run_now(disk.write_zeroes(at, length, random() % 2 != 0)); break;
      default: (void)testing::write_disk(disk, at, random_data(random, length));
    }
  }
}

Bytes make_image(Random& random, qcow2::Geometry& geometry) {
  static constexpr uint32_t kBits[] = {9, 12, 12, 14, 16};
  Qcow2CreateOptions options{.cluster_bits = kBits[random() % 5]};
  options.extended_l2 = options.cluster_bits >= 14 && random() % 2 != 0;
  options.refcount_order = random() % 2 != 0 ? 4 : static_cast<uint32_t>(2 + random() % 5);
  const uint64_t cluster_bytes = uint64_t{1} << options.cluster_bits;
  options.size_bytes = std::min<uint64_t>(cluster_bytes * (64 + random() % 512), 4 << 20);
  geometry = {options.cluster_bits, options.refcount_order, options.extended_l2};
  auto file = std::make_unique<MemoryFile>(testing::make_qcow2(options));
  MemoryFile& memory = *file;
  const auto disk = testing::open_qcow2(std::move(file)).value();
  const uint64_t clusters = options.size_bytes / cluster_bytes;
  for (unsigned i = 0; i < 4; ++i)
    write_compressed(*disk, random, random() % clusters, cluster_bytes);
  write_some(*disk, random, cluster_bytes, 10);
  const uint64_t snapshots = random() % 3;
  for (uint64_t i = 0; i < snapshots; ++i) {
    const char* const name = i == 0 ? "one" : "two";
    CHECK(run_now(qcow2::create_snapshot(disk->parts(), {.name = name})).has_value());
    write_some(*disk, random, cluster_bytes, 6);
  }
  CHECK(run_now(disk->close()).has_value());
  return memory.bytes();
}

// Where a structure of the image begins, or of one that a structure leads to.
uint64_t some_structure(const Bytes& image, Random& random, uint64_t& length, uint64_t cluster) {
  const uint64_t l1 = word(image, 40);
  const uint64_t l2 = word(image, l1) & qcow2::kOffsetMask;
  const uint64_t refcounts = word(image, 48);
  const uint64_t snapshots = word(image, 64);
  length = cluster;
  switch (random() % 8) {
    case 0:
    case 1: length = 104; return 0;
    case 2: length = 32; return l1;
    case 3:
    case 4: return l2;
    case 5: length = 16; return refcounts;
    case 6: return word(image, refcounts);
    default: length = 128; return snapshots == 0 ? l2 : snapshots;
  }
}

void damage(Bytes& image, Random& random, const qcow2::Geometry& geometry) {
  const uint64_t cluster = geometry.cluster_bytes();
  uint64_t length = 0;
  const uint64_t begin = some_structure(image, random, length, cluster);
  const uint64_t width = uint64_t{1} << (random() % 4);
  const uint64_t at = begin + random() % length / width * width;
  if (at + width > image.size() || at < 8) return;  // the magic and the version stay
  const uint64_t old = word(image, at) >> (64 - 8 * width);
  uint64_t value = old;
  switch (random() % 6) {
    case 0: value ^= uint64_t{1} << random() % (8 * width); break;
    case 1: value = random(); break;
    case 2: value = random() % (image.size() / cluster + 2) * cluster; break;
    case 3: value = random() % (image.size() / cluster + 2) * cluster | uint64_t{1} << 63; break;
    case 4: value += random() % 64; break;
    default: value = random() % 3 == 0 ? 0 : old | random() % 1024;
  }
  for (uint64_t i = 0; i < width; ++i)
    image[at + i] = static_cast<uint8_t>(value >> (8 * (width - 1 - i)));
}

void check_seed(uint64_t seed) {
  SCOPED_TRACE(::testing::Message() << "HULL_REPAIR_SEEDS=" << seed << ":1");
  Random random{seed};
  qcow2::Geometry geometry;
  Bytes image = make_image(random, geometry);
  const uint64_t damages = 1 + random() % 3;
  for (uint64_t i = 0; i < damages; ++i) damage(image, random, geometry);
  const Repair what = random() % 4 == 0 ? Repair::kLeaks : Repair::kAll;
  const Views before = read_views(image);

  MemoryFile file(image, "fuzz", kMaxFileBytes);
  auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return;
  const auto result = run_now(qcow2::repair_image(file, *header, what));
  const Views after = read_views(file.bytes());
  EXPECT_EQ(first_loss(before.disk, after.disk), std::nullopt);
  for (size_t i = 0; i < before.snapshots.size(); ++i)
    EXPECT_EQ(first_loss(before.snapshots[i], after.snapshots[i]), std::nullopt)
        << "snapshot " << i;
  if (!result || result->needs_rebuild || result->findings.corruptions != 0) return;

  // It says that the image is whole: then so it is, and what is written disturbs nobody.
  MemoryFile again(file.bytes());
  header = run_now(qcow2::ImageHeader::read(again));
  ASSERT_TRUE(header);
  const auto checked = run_now(qcow2::check_image(again, **header));
  ASSERT_TRUE(checked);
  EXPECT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
  auto memory = std::make_unique<MemoryFile>(file.bytes(), "fuzz", kMaxFileBytes);
  MemoryFile& written = *memory;
  const auto disk = testing::open_qcow2(std::move(memory));
  if (!disk) return;  // a feature, say, that hull does not write
  if ((*disk)->size_bytes() == 0) return;
  const uint64_t span = std::min((*disk)->size_bytes(), kMaxDiskBytes);
  std::vector<bool> touched(span / kGranule + 1);
  for (unsigned i = 0; i < 6; ++i) {
    const uint64_t at = random() % span / kGranule * kGranule;
    const uint64_t length = std::min(span - at, kGranule * (1 + random() % 64));
    (void)testing::write_disk(**disk, at, random_data(random, length));
    for (uint64_t sector = at; sector < at + length; sector += kGranule)
      touched[sector / kGranule] = true;
  }
  (void)run_now((*disk)->close());
  const Views last = read_views(written.bytes());
  Contents untouched = after.disk;
  for (size_t i = 0; i < untouched.size() && i < touched.size(); ++i)
    if (touched[i]) untouched[i].reset();
  EXPECT_EQ(first_loss(untouched, last.disk), std::nullopt) << "after writes";
  for (size_t i = 0; i < after.snapshots.size(); ++i)
    EXPECT_EQ(first_loss(after.snapshots[i], last.snapshots[i]), std::nullopt)
        << "snapshot " << i << " after writes";
}

TEST(Qcow2RepairFuzz, WhatCouldBeReadStays) {
  uint64_t first = 1;
  uint64_t count = 300;
  if (const char* const seeds = std::getenv("HULL_REPAIR_SEEDS")) {
    char* rest = nullptr;
    first = std::strtoull(seeds, &rest, 10);
    if (*rest == ':') count = std::strtoull(rest + 1, nullptr, 10);
  }
  const LogLevel level = log_level();
  set_log_level(LogLevel::kError);
  for (uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) check_seed(seed);
  set_log_level(level);
}

}  // namespace
}  // namespace hull::blockcore

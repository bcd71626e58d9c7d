#include "tests/support/damaged_qcow2.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "blockcore/qcow2/format/l2_entry.h"

namespace hull::testing {
namespace {

using blockcore::Qcow2CreateOptions;

// Where things stand, as far as the header says so; all inside the file or 0.
struct Places {
  uint64_t cluster_bytes = 512;
  uint64_t l1 = 0;
  uint64_t l2 = 0;
  uint64_t refcount_table = 0;
  uint64_t refcount_block = 0;
  uint64_t snapshots = 0;
};

uint64_t load(const Bytes& image, uint64_t offset, size_t width = 8) {
  if (offset > image.size() || image.size() - offset < width) return 0;
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value = value << 8 | image[offset + i];
  return value;
}

void store(Bytes& image, uint64_t offset, uint64_t value, size_t width = 8) {
  if (offset > image.size() || image.size() - offset < width) return;
  for (size_t i = 0; i < width; ++i)
    image[offset + i] = static_cast<uint8_t>(value >> (8 * (width - 1 - i)));
}

Places find_places(const Bytes& image, Choices& choices) {
  Places places;
  places.cluster_bytes = uint64_t{1} << std::clamp<uint64_t>(load(image, 20, 4), 9, 21);
  places.l1 = load(image, 40);
  places.l2 = load(image, places.l1 + 8 * choices.below(4)) & blockcore::qcow2::kOffsetMask;
  places.refcount_table = load(image, 48);
  places.refcount_block = load(image, places.refcount_table);
  places.snapshots = load(image, 64);
  return places;
}

// Turns the data cluster of the L2 entry at `entry_offset` into a compressed one: the deflate
// stream takes the place of the data.
void compress_in_place(Bytes& image, uint64_t entry_offset, uint32_t cluster_bits) {
  const blockcore::qcow2::L2Entry entry{load(image, entry_offset)};
  if (entry.kind() != blockcore::qcow2::ClusterKind::kNormal) return;
  const uint64_t host = entry.host_offset();
  const uint64_t cluster = uint64_t{1} << cluster_bits;
  z_stream stream{};
  CHECK(deflateInit2(&stream, 1, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  Bytes out(cluster);
  stream.next_in = image.data() + host;
  stream.avail_in = static_cast<uInt>(cluster);
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  const bool fits = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  const uint64_t sectors = (out.size() - stream.avail_out + 511) / 512;
  deflateEnd(&stream);
  if (!fits) return;
  std::ranges::copy(out, image.begin() + static_cast<ptrdiff_t>(host));
  store(image, entry_offset,
        blockcore::qcow2::kCompressedFlag | (sectors - 1) << (62 - (cluster_bits - 8)) | host);
}

void pad(Bytes& image, uint64_t cluster_bytes) {
  image.resize((image.size() + cluster_bytes - 1) / cluster_bytes * cluster_bytes);
}

// Two snapshots of the image as it is, in clusters at the end of the file.
void add_snapshots(Bytes& image, uint64_t cluster_bytes) {
  const uint64_t table = image.size();
  image.resize(table + cluster_bytes);
  for (const uint64_t entry : {table, table + 64}) {
    const auto l1 = image.begin() + static_cast<ptrdiff_t>(load(image, 40));
    const uint64_t l1_entries = load(image, 36, 4);
    const Bytes copy(l1, l1 + static_cast<ptrdiff_t>(8 * l1_entries));
    store(image, entry, image.size());          // L1 table
    store(image, entry + 8, l1_entries, 4);     // its entries
    store(image, entry + 12, 0x0001'0002, 4);   // lengths of id and name
    store(image, entry + 36, 16, 4);            // extra data
    store(image, entry + 48, load(image, 24));  // disk size
    image.insert(image.end(), copy.begin(), copy.end());
    pad(image, cluster_bytes);
  }
  store(image, 60, 2, 4);
  store(image, 64, table);
}

void fill(blockcore::Qcow2Disk& disk, Bytes& contents, Choices& choices, uint64_t cluster_bytes) {
  const uint64_t steps = 1 + choices.below(6);
  for (uint64_t i = 0; i < steps; ++i) {
    const uint64_t offset = choices.below(contents.size());
    const uint64_t length =
        std::min(1 + choices.below(3 * cluster_bytes), contents.size() - offset);
    const auto at = contents.begin() + static_cast<ptrdiff_t>(offset);
    const auto value = static_cast<uint8_t>(choices.below(4));
    std::fill_n(at, length, value);
    if (value == 0)
      CHECK(run_now(disk.write_zeroes(offset, length, choices.below(2) != 0)).has_value());
    else
      CHECK(write_disk(disk, offset, Bytes(length, value)).has_value());
  }
}

}  // namespace

uint64_t Choices::take(unsigned bytes) {
  uint64_t value = 0;
  for (; bytes != 0 && !bytes_.empty(); --bytes, bytes_ = bytes_.subspan(1))
    value = value << 8 | bytes_.front();
  return value;
}

SampleImage make_sample_qcow2(Choices& choices) {
  static constexpr uint32_t kClusterBits[] = {9, 9, 9, 10, 12, 12, 14, 16};
  const uint32_t cluster_bits = kClusterBits[choices.below(8)];
  const uint64_t cluster_bytes = uint64_t{1} << cluster_bits;
  Qcow2CreateOptions options{.size_bytes = 512 * (1 + choices.below(1024)),
                             .version = choices.below(4) == 0 ? 2U : 3U,
                             .cluster_bits = cluster_bits};
  if (options.version == 3) {
    options.refcount_order = static_cast<uint32_t>(choices.below(7));
    options.lazy_refcounts = choices.below(4) == 0;
  }
  SampleImage sample{make_qcow2(options), Bytes(options.size_bytes)};
  auto file = std::make_unique<MemoryFile>(sample.image);
  MemoryFile& memory = *file;
  auto disk = open_qcow2(std::move(file));
  CHECK(disk.has_value());
  fill(**disk, sample.contents, choices, cluster_bytes);
  CHECK(run_now((*disk)->close()).has_value());
  sample.image = memory.bytes();
  pad(sample.image, cluster_bytes);
  const uint64_t l2 = find_places(sample.image, choices).l2;
  for (uint64_t i = choices.below(4); l2 != 0 && i != 0; --i)
    compress_in_place(sample.image, l2 + 8 * choices.below(cluster_bytes / 8), cluster_bits);
  sample.consistent = choices.below(4) != 0;
  if (!sample.consistent) add_snapshots(sample.image, cluster_bytes);
  // The refcounts are rebuilt when the image is opened for writing.
  if (options.version == 3 && options.refcount_order > 1 && choices.below(3) == 0) {
    sample.image[79] |= blockcore::qcow2::kIncompatibleDirty;
    sample.consistent = true;
  }
  return sample;
}

void damage_qcow2(Bytes& image, Choices& choices) {
  const Places places = find_places(image, choices);
  const uint64_t kind = choices.below(16);
  if (kind == 15) {
    image.resize(choices.below(image.size() + 1));
    return;
  }
  const std::array<uint64_t, 8> tables = {0,
                                          104,
                                          places.l1,
                                          places.l2,
                                          places.l2,
                                          places.refcount_table,
                                          places.refcount_block,
                                          places.snapshots};
  const std::array<uint64_t, 8> lengths = {112, 512, 64, 512, places.cluster_bytes, 64, 256, 160};
  const uint64_t table = choices.below(tables.size());
  const size_t width = size_t{1} << choices.below(4);
  const uint64_t offset = tables[table] + choices.below(lengths[table]) / width * width;
  const std::array<uint64_t, 7> targets = {
      0,
      places.l1,
      places.l2,
      places.refcount_table,
      places.refcount_block,
      places.snapshots,
      image.size() / places.cluster_bytes * places.cluster_bytes};
  uint64_t value = choices.take(static_cast<unsigned>(width));
  if (kind < 6) value = targets[kind] | value << 60 | (value & 1);
  if (kind == 6) value = targets[kind] | value << 60;
  if (kind == 7) value = load(image, offset, width) ^ uint64_t { 1 } << value % (8 * width);
  if (kind == 8) value = ~value;
  if (kind == 9) value = load(image, offset, width) + value - 4;
  store(image, offset, value, width);
}

}  // namespace hull::testing

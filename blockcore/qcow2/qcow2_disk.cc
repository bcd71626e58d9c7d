#include "blockcore/qcow2/qcow2_disk.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "blockcore/engine/iovecs.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/bitmap_tracker.h"
#include "blockcore/qcow2/mapping/status.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore {

Qcow2Disk::Qcow2Disk(std::unique_ptr<qcow2::Parts> parts, bool read_only)
    : parts_(std::move(parts)),
      bitmaps_(std::make_unique<qcow2::BitmapTracker>(*parts_)),
      read_only_(read_only) {}
Qcow2Disk::~Qcow2Disk() = default;

namespace {

using Cipher = std::optional<crypto::SectorCipher>;

// Somebody who relies on encryption must not get an image without.
Result<void> check_encryption(uint32_t method, DiskEncryption wanted) {
  static constexpr std::string_view kNames[] = {"nothing", "aes", "luks"};
  const uint32_t expected = wanted == DiskEncryption::kAes    ? qcow2::kEncryptionAes
                            : wanted == DiskEncryption::kLuks ? qcow2::kEncryptionLuks
                                                              : method;
  if (method == expected) return {};
  if (method == qcow2::kEncryptionNone)
    return fail(ErrorKind::kInvalidConfig,
                "No encryption in image header, but options specified format '{}'",
                kNames[expected]);
  return fail(ErrorKind::kInvalidConfig,
              "Header reported '{}' encryption format but options specify '{}'", kNames[method],
              kNames[expected]);
}

// nullopt if the image is not encrypted, or if only its metadata is wanted.
Task<Result<Cipher>> unlock_data(File& file, const qcow2::Header& header,
                                 const Qcow2Options& options, bool read_only) {
  const uint32_t method = header.encryption_method;
  CO_TRY_VOID(check_encryption(method, options.encryption));
  if (method == qcow2::kEncryptionNone) co_return Cipher();
  if (method == qcow2::kEncryptionAes && !read_only)
    co_return fail(ErrorKind::kUnsupported,
                   "qcow2 header: crypt_method (byte 32) is 1: hull reads images with the old AES "
                   "encryption and does not write to them: convert the image to LUKS");
  if (options.secret == nullptr && options.metadata_only) co_return Cipher();
  if (options.secret == nullptr)
    co_return fail(ErrorKind::kUnsupported,
                   "qcow2 header: crypt_method (byte 32) is {}: the image is encrypted with {}: "
                   "Parameter 'encrypt.key-secret' is required (<encryption> in a document)",
                   method, method == qcow2::kEncryptionAes ? "AES" : "LUKS");
  CO_TRY(auto cipher, co_await qcow2::unlock(file, header, *options.secret));
  co_return Cipher(std::move(cipher));
}

// Inclusive; of an empty range the entry where it begins.
std::pair<uint64_t, uint64_t> l1_indexes(const qcow2::Geometry& geometry, uint64_t offset,
                                         uint64_t length) {
  const uint64_t last = offset + std::max<uint64_t>(length, 1) - 1;
  return {geometry.l1_index(geometry.cluster_of(offset)),
          geometry.l1_index(geometry.cluster_of(last))};
}

}  // namespace

Task<Result<std::unique_ptr<Qcow2Disk>>> Qcow2Disk::open(std::unique_ptr<File> file,
                                                         Qcow2Options options) {
  const std::string path = file->path();
  auto header = (co_await qcow2::ImageHeader::read(*file)).with_context(path);
  if (!header) co_return std::unexpected(std::move(header).error());
  CO_TRY_VOID(qcow2::check_supported(**header).with_context(path));
  if ((*header)->has_data_file() && !options.allow_data_file)
    co_return fail(ErrorKind::kUnsupported,
                   "{}: has an external data file, with which hull cannot do this", path);
  const bool read_only = options.read_only || file->read_only();
  if (options.snapshot) {
    CHECK(read_only);
    CO_TRY(const qcow2::Snapshot snapshot,
           co_await qcow2::find_snapshot(*file, **header, *options.snapshot));
    header->show(snapshot);
  }
  auto cipher = (co_await unlock_data(*file, **header, options, read_only)).with_context(path);
  if (!cipher) co_return std::unexpected(std::move(cipher).error());
  if (!read_only && (*header)->corrupt())
    co_return fail(ErrorKind::kCorrupt,
                   "{}: the image is marked corrupt (qcow2 header, byte 72, bit 1): open it "
                   "read-only or repair it with hull img check -r all",
                   path);
  const auto writable = qcow2::check_writable(**header, file->size_bytes());
  if (!read_only && !writable)
    co_return fail(writable.error().kind(),
                   "{}: {}: open it read-only or repair it with hull img check -r all", path,
                   writable.error().message());
  if (!read_only && (*header)->dirty()) {
    auto rebuilt = (co_await qcow2::rebuild_refcounts(*file, *header)).with_context(path);
    if (!rebuilt) co_return std::unexpected(std::move(rebuilt).error());
  }
  auto parts = std::make_unique<qcow2::Parts>(
      std::move(file), *std::move(header),
      qcow2::CacheSizes{options.l2_cache_bytes, options.refcount_cache_bytes});
  parts->image.workers = options.workers;
  if ((*parts->image.header).encryption_method != qcow2::kEncryptionNone)
    parts->image.encrypted =
        std::make_unique<qcow2::EncryptedFile>(*parts->image.file, *std::move(cipher));
  if (read_only) parts->image.map.set_read_only();
  CO_TRY_VOID((co_await parts->image.map.read_l1()).with_context("L1 table"));
  if (!read_only) {
    CO_TRY_VOID((co_await parts->image.refcounts.read_table()).with_context("refcount table"));
    CO_TRY_VOID((co_await parts->image.guard.read_places()).with_context(path));
  }
  co_return std::unique_ptr<Qcow2Disk>(new Qcow2Disk(std::move(parts), read_only));
}

const qcow2::Header& Qcow2Disk::header() const { return *parts_->image.header; }
qcow2::Parts& Qcow2Disk::parts() { return *parts_; }
const File& Qcow2Disk::file() const { return *parts_->image.file; }
void Qcow2Disk::set_data_file(std::unique_ptr<File> data_file) {
  CHECK(header().has_data_file());
  parts_->image.data_file = std::move(data_file);
}
void Qcow2Disk::set_backing(std::unique_ptr<Disk> backing) {
  parts_->image.backing_image = dynamic_cast<Qcow2Disk*>(backing.get());
  parts_->image.backing = std::move(backing);
}

uint64_t Qcow2Disk::size_bytes() const { return parts_->image.size_bytes(); }
uint32_t Qcow2Disk::alignment_bytes() const { return parts_->image.data().alignment_bytes(); }
uint32_t Qcow2Disk::discard_granularity_bytes() const {
  return static_cast<uint32_t>(parts_->image.geometry.cluster_bytes());
}

bool Qcow2Disk::needs_preparation() const {
  return !changing_ || parts_->committer.is_due() || parts_->image.guard.corrupt();
}

// Before an operation changes anything and while it holds nothing.
Task<Result<void>> Qcow2Disk::prepare_change() {
  if (parts_->image.guard.corrupt()) co_return parts_->image.guard.refusal();
  if (!changing_) CO_TRY_VOID(co_await start_changing());
  // The operation adds a few changes at most, so that memory stays bounded.
  if (parts_->committer.is_due()) CO_TRY_VOID(co_await parts_->committer.commit());
  co_return {};
}

// Bitmaps are kept, and a raw data file stays one; other autoclear bits vouch for what is not.
Task<Result<void>> Qcow2Disk::start_changing() {
  const AsyncMutex::Guard guard = co_await parts_->clearing.lock();
  if (changing_) co_return {};
  CO_TRY_VOID(co_await bitmaps_->start(header().has_data_file() ? qcow2::kAutoclearRawData : 0));
  changing_ = true;
  co_return {};
}

// An operation on the image as a whole is at work on it (gate.h), or has yet to see these tables.
bool Qcow2Disk::may_begin(uint64_t offset, uint64_t length, bool changes) const {
  const qcow2::Image& image = parts_->image;
  if (!image.gate.is_open()) return false;
  if (!changes || !image.frozen.any()) return true;
  const auto [first, last] = l1_indexes(image.geometry, offset, length);
  return !image.frozen.holds(first, last);
}

Task<Result<void>> Qcow2Disk::wait_to_begin(uint64_t offset, uint64_t length, bool changes) {
  qcow2::Image& image = parts_->image;
  while (!may_begin(offset, length, changes)) {
    const auto [first, last] = l1_indexes(image.geometry, offset, length);
    if (changes) image.frozen.want(first, last);
    co_await image.gate.wait();
  }
  if (!range_fits(offset, length, size_bytes()))
    co_return fail(ErrorKind::kOutOfRange, "{}: the disk has become smaller while a request waited",
                   image.file->path());
  co_return {};
}

Task<Result<void>> Qcow2Disk::read(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t length = total_bytes(buffers);
  CHECK(range_fits(offset, length, size_bytes()));
  if (!may_begin(offset, length, false)) CO_TRY_VOID(co_await wait_to_begin(offset, length, false));
  const Gate::Pass pass(parts_->image.gate);
  co_return co_await parts_->reader.read(offset, buffers);
}

Task<Result<void>> Qcow2Disk::write(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t length = total_bytes(buffers);
  CHECK(!read_only_ && range_fits(offset, length, size_bytes()));
  if (!may_begin(offset, length, true)) CO_TRY_VOID(co_await wait_to_begin(offset, length, true));
  const Gate::Pass pass(parts_->image.gate);
  if (needs_preparation()) CO_TRY_VOID(co_await prepare_change());
  bitmaps_->mark(offset, length);
  co_return co_await parts_->writer.write(offset, buffers);
}

Task<Result<qcow2::CompressedBatch>> Qcow2Disk::load_compressed(uint64_t offset, uint64_t length,
                                                                const qcow2::StreamFormat& format) {
  qcow2::Image& image = parts_->image;
  const uint64_t cluster_bytes = image.geometry.cluster_bytes();
  // What follows the end of the disk in its last cluster is nobody's business.
  length = offset < size_bytes() ? std::min(length, size_bytes() - offset) : 0;
  if (length < cluster_bytes ||
      format != qcow2::StreamFormat{image.geometry.cluster_bits, image.header->compression})
    co_return qcow2::CompressedBatch{};
  if (!may_begin(offset, length, false)) CO_TRY_VOID(co_await wait_to_begin(offset, length, false));
  const Gate::Pass pass(image.gate);
  std::optional<qcow2::Extent> extent = image.map.find(offset, length);
  while (!extent) {
    CO_TRY_VOID(co_await image.map.load(offset));
    extent = image.map.find(offset, length);
  }
  if (extent->kind == qcow2::ClusterKind::kCompressed)
    co_return co_await parts_->reader.load_compressed(offset, length);
  if (extent->kind != qcow2::ClusterKind::kUnallocated || image.backing_image == nullptr)
    co_return qcow2::CompressedBatch{};
  co_return co_await image.backing_image->load_compressed(offset, extent->length, format);
}

Task<Result<void>> Qcow2Disk::write_compressed(std::span<const qcow2::CompressedCluster> clusters) {
  const qcow2::Geometry& geometry = parts_->image.geometry;
  for (const qcow2::CompressedCluster& one : clusters)
    CHECK(!read_only_ && one.offset < size_bytes() && !one.stream.empty() &&
          geometry.offset_in_cluster(one.offset) == 0 &&
          one.stream.size() <= geometry.cluster_bytes());
  if (clusters.empty()) co_return {};
  const uint64_t first = clusters.front().offset;
  const uint64_t length = clusters.back().offset + 1 - first;
  if (!may_begin(first, length, true)) CO_TRY_VOID(co_await wait_to_begin(first, length, true));
  const Gate::Pass pass(parts_->image.gate);
  CO_TRY_VOID(co_await prepare_change());
  for (const qcow2::CompressedCluster& one : clusters)
    bitmaps_->mark(one.offset,
                   std::min<uint64_t>(geometry.cluster_bytes(), size_bytes() - one.offset));
  co_return co_await parts_->packer.write(clusters);
}

Task<Result<void>> Qcow2Disk::flush() {
  if (read_only_) co_return {};
  if (!may_begin(0, 0, false)) CO_TRY_VOID(co_await wait_to_begin(0, 0, false));
  const Gate::Pass pass(parts_->image.gate);
  co_return co_await parts_->committer.commit();
}

Task<Result<void>> Qcow2Disk::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  CHECK(!read_only_ && range_fits(offset, length, size_bytes()));
  if (!may_begin(offset, length, true)) CO_TRY_VOID(co_await wait_to_begin(offset, length, true));
  const Gate::Pass pass(parts_->image.gate);
  CO_TRY_VOID(co_await prepare_change());
  bitmaps_->mark(offset, length);
  co_return co_await parts_->zeroer.write_zeroes(offset, length, may_unmap);
}

Task<Result<void>> Qcow2Disk::discard(uint64_t offset, uint64_t length) {
  CHECK(!read_only_ && range_fits(offset, length, size_bytes()));
  if (!may_begin(offset, length, true)) CO_TRY_VOID(co_await wait_to_begin(offset, length, true));
  const Gate::Pass pass(parts_->image.gate);
  CO_TRY_VOID(co_await prepare_change());
  bitmaps_->mark(offset, length);
  co_return co_await parts_->zeroer.discard(offset, length);
}

Task<Result<BlockStatus>> Qcow2Disk::block_status(uint64_t offset, uint64_t length) {
  CHECK(length != 0 && range_fits(offset, length, size_bytes()));
  if (!may_begin(offset, length, false)) CO_TRY_VOID(co_await wait_to_begin(offset, length, false));
  const Gate::Pass pass(parts_->image.gate);
  co_return co_await qcow2::block_status(parts_->image, offset, length);
}

void Qcow2Disk::abandon() {
  parts_->image.file->abandon();
  if (parts_->image.data_file != nullptr) parts_->image.data_file->abandon();
  if (parts_->image.backing != nullptr) parts_->image.backing->abandon();
}

Task<Result<void>> Qcow2Disk::close() {
  if (parts_->image.backing != nullptr) CO_TRY_VOID(co_await parts_->image.backing->close());
  if (read_only_) co_return {};
  CO_TRY_VOID(co_await parts_->committer.commit_all());
  changing_ = false;
  co_return co_await bitmaps_->stop();
}

}  // namespace hull::blockcore

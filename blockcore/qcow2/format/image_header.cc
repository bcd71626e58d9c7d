#include "blockcore/qcow2/format/image_header.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/checked.h"
#include "blockcore/qcow2/format/header_layout.h"

namespace hull::blockcore::qcow2 {
namespace {

// The fields that change in place; those of version 3 only where the header has them.
void patch_fields(const Header& changed, std::span<std::byte> sector) {
  HeaderLayout raw;
  std::memcpy(&raw, sector.data(), sizeof raw);
  raw.size_bytes = changed.size_bytes;
  raw.l1_entries = changed.l1_entries;
  raw.l1_offset = changed.l1_offset;
  raw.refcount_table_offset = changed.refcount_table_offset;
  raw.refcount_table_clusters = changed.refcount_table_clusters;
  raw.snapshot_count = changed.snapshot_count;
  raw.snapshots_offset = changed.snapshots_offset;
  if (changed.version >= 3) {
    raw.incompatible = changed.incompatible;
    raw.compatible = changed.compatible;
    raw.autoclear = changed.autoclear;
    raw.refcount_order = changed.geometry.refcount_order;
  }
  std::memcpy(sector.data(), &raw, sizeof raw);
}

bool differ_in_fields_alone(const Header& one, const Header& other) {
  return one.version == other.version && one.encryption_method == other.encryption_method &&
         one.compression == other.compression && one.backing_name == other.backing_name &&
         one.backing_format == other.backing_format && one.extensions == other.extensions &&
         one.unknown_fields == other.unknown_fields;
}

uint64_t merge_bits(uint64_t now, uint64_t before, uint64_t wanted) {
  return (now | (wanted & ~before)) & ~(before & ~wanted);
}

// `wanted` was made of `before`, and `now` is what the header has become meanwhile.
Header merge(Header now, const Header& before, Header wanted) {
  const auto take = [&](auto Header::* field) {
    if (wanted.*field != before.*field) now.*field = std::move(wanted.*field);
  };
  take(&Header::version);
  take(&Header::size_bytes);
  take(&Header::l1_entries);
  take(&Header::l1_offset);
  take(&Header::refcount_table_offset);
  take(&Header::refcount_table_clusters);
  take(&Header::snapshot_count);
  take(&Header::snapshots_offset);
  take(&Header::encryption_method);
  take(&Header::compression);
  take(&Header::backing_name);
  take(&Header::backing_format);
  take(&Header::extensions);
  take(&Header::unknown_fields);
  if (wanted.geometry.refcount_order != before.geometry.refcount_order)
    now.geometry.refcount_order = wanted.geometry.refcount_order;
  now.incompatible = merge_bits(now.incompatible, before.incompatible, wanted.incompatible);
  now.compatible = merge_bits(now.compatible, before.compatible, wanted.compatible);
  now.autoclear = merge_bits(now.autoclear, before.autoclear, wanted.autoclear);
  return now;
}

// Behind the first sector `area` takes over what is between its parts; false if it would change
// what the old area holds there, which a crash may leave to the old first sector.
bool keeps_what_is_held(std::span<const std::byte> old, const HeaderPlaces& held,
                        std::span<std::byte> area) {
  const HeaderPlaces places = header_places(area);
  for (uint64_t at = kHeaderSectorBytes; at < area.size(); ++at) {
    if (!places.holds(at)) area[at] = old[at];
    if (held.holds(at) && area[at] != old[at]) return false;
  }
  return true;
}

// The area of a header that is longer than a sector, its name where the old one has none.
Task<Result<std::vector<std::byte>>> place_beside_old(File& file, const Header& changed) {
  std::vector<std::byte> old(changed.geometry.cluster_bytes());
  const iovec buffer{old.data(), old.size()};
  CO_TRY_VOID(co_await file.read_or_zero(0, {&buffer, 1}));
  const HeaderPlaces held = header_places(old);
  const uint64_t length = changed.backing_name.size();
  for (const uint64_t name_offset :
       {uint64_t{0}, held.name_begin, held.extensions_end, held.name_end,
        held.name_begin - std::min(held.name_begin, length)}) {
    auto area = encode_header(changed, kHeaderSectorBytes, name_offset);
    if (area && keeps_what_is_held(old, held, *area)) co_return *std::move(area);
  }
  co_return fail(ErrorKind::kOutOfRange,
                 "{}: clusters of {} bytes have no room for the old header beside the new one, "
                 "which a crash may need: shorten the name of the backing file first (hull img "
                 "rebase -u)",
                 file.path(), changed.geometry.cluster_bytes());
}

}  // namespace

Task<Result<ImageHeader>> ImageHeader::read(File& file) {
  const uint64_t file_bytes = file.size_bytes();
  std::vector<std::byte> area(std::min<uint64_t>(file_bytes, kFirstHeaderRead));
  CO_TRY_VOID(co_await read_exactly(file, 0, area));
  Result<Header> header = decode_header(area);
  const uint64_t wanted = std::min<uint64_t>(file_bytes, header_area_bytes(area));
  if (!header && header.error().kind() == ErrorKind::kOutOfRange && wanted > area.size()) {
    area.resize(wanted);
    CO_TRY_VOID(co_await read_exactly(file, 0, area));
    header = decode_header(area);
  }
  if (!header) {
    // What the whole first cluster does not hold is not there.
    if (header.error().kind() != ErrorKind::kOutOfRange) co_return std::unexpected(header.error());
    co_return fail(ErrorKind::kInvalidFormat, "{}", header.error().message());
  }
  ImageHeader image;
  image.header_ = *std::move(header);
  std::memcpy(image.sector_.data(), area.data(), std::min(area.size(), image.sector_.size()));
  co_return image;
}

Task<Result<void>> ImageHeader::update(File& file, Header changed) {
  CHECK(changed.geometry.cluster_bits == header_.geometry.cluster_bits &&
        changed.geometry.extended_l2 == header_.geometry.extended_l2);
  const Header before = header_;
  const AsyncMutex::Guard guard = co_await updating_->lock();
  changed = merge(header_, before, std::move(changed));
  // What vouches for something that hull does not know vouches for the image before this change.
  changed.autoclear &= kKnownAutoclear;
  if (differ_in_fields_alone(header_, changed)) co_return co_await write_fields(file, changed);
  co_return co_await write_area(file, changed);
}

Task<Result<void>> ImageHeader::set_refcount_table(File& file, uint64_t offset, uint32_t clusters) {
  Header changed = header_;
  changed.refcount_table_offset = offset;
  changed.refcount_table_clusters = clusters;
  return update(file, std::move(changed));
}

Task<Result<void>> ImageHeader::set_features(File& file, uint64_t incompatible,
                                             uint64_t autoclear) {
  Header changed = header_;
  changed.incompatible = incompatible;
  changed.autoclear = autoclear;
  return update(file, std::move(changed));
}

Task<Result<void>> ImageHeader::set_mapping(File& file, uint64_t size_bytes, uint64_t l1_offset,
                                            uint32_t l1_entries) {
  Header changed = header_;
  if (size_bytes != header_.size_bytes)
    changed.autoclear &= ~kAutoclearBitmaps;  // they would cover another disk
  changed.size_bytes = size_bytes;
  changed.l1_offset = l1_offset;
  changed.l1_entries = l1_entries;
  return update(file, std::move(changed));
}

Task<Result<void>> ImageHeader::set_snapshots(File& file, uint64_t offset, uint32_t count) {
  Header changed = header_;
  changed.snapshots_offset = offset;
  changed.snapshot_count = count;
  return update(file, std::move(changed));
}

Task<Result<void>> ImageHeader::set_backing(File& file, std::string name,
                                            std::optional<std::string> format) {
  Header changed = header_;
  changed.backing_name = std::move(name);
  changed.backing_format = std::move(format);
  return update(file, std::move(changed));
}

Task<Result<void>> ImageHeader::write_fields(File& file, const Header& changed) {
  auto sector = sector_;
  patch_fields(changed, sector);
  CO_TRY_VOID(co_await write_exactly(file, 0, sector));
  CO_TRY_VOID(co_await file.flush());
  sector_ = sector;
  header_ = changed;
  co_return {};
}

// One sector is never torn, and the names of features are not worth a second one. What does not
// fit is in its place, which the old sector does not refer to, before the one that does.
Task<Result<void>> ImageHeader::write_area(File& file, const Header& changed) {
  CO_TRY(std::vector<std::byte> area, encode_header(changed, kHeaderSectorBytes));
  if (area.size() > kHeaderSectorBytes) {
    CO_TRY(area, co_await place_beside_old(file, changed));
  }
  // What nobody could open is not written.
  CO_TRY(Header decoded, decode_header(area));
  if (area.size() > kHeaderSectorBytes) {
    const auto rest = std::span(area).subspan(kHeaderSectorBytes);
    CO_TRY_VOID(co_await write_exactly(file, kHeaderSectorBytes, rest));
    CO_TRY_VOID(co_await file.flush());
  }
  area.resize(std::max<size_t>(area.size(), kHeaderSectorBytes));
  const auto sector = std::span(area).first(kHeaderSectorBytes);
  CO_TRY_VOID(co_await write_exactly(file, 0, sector));
  CO_TRY_VOID(co_await file.flush());
  std::ranges::copy(sector, sector_.begin());
  header_ = std::move(decoded);
  co_return {};
}

void set_extension(Header& header, uint32_t type, std::vector<std::byte> data) {
  const auto found = std::ranges::find(header.extensions, type, &HeaderExtension::type);
  if (data.empty()) {
    if (found != header.extensions.end()) header.extensions.erase(found);
  } else if (found != header.extensions.end()) {
    found->data = std::move(data);
  } else {
    header.extensions.push_back({type, std::move(data)});
  }
}

}  // namespace hull::blockcore::qcow2

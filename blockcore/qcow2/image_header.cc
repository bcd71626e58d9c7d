#include "blockcore/qcow2/image_header.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "blockcore/qcow2/header_layout.h"

namespace hull::blockcore::qcow2 {

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
  CO_TRY_VOID(check_against_file(*header, file_bytes));
  ImageHeader image;
  image.header_ = *std::move(header);
  std::memcpy(image.sector_.data(), area.data(), std::min(area.size(), image.sector_.size()));
  co_return image;
}

Task<Result<void>> ImageHeader::set_refcount_table(File& file, uint64_t offset, uint32_t clusters,
                                                   bool clear_dirty) {
  Header changed = header_;
  changed.refcount_table_offset = offset;
  changed.refcount_table_clusters = clusters;
  if (clear_dirty) changed.incompatible &= ~kIncompatibleDirty;
  co_return co_await write(file, changed);
}

Task<Result<void>> ImageHeader::set_features(File& file, uint64_t incompatible,
                                             uint64_t autoclear) {
  Header changed = header_;
  changed.incompatible = incompatible;
  changed.autoclear = autoclear;
  co_return co_await write(file, changed);
}

Task<Result<void>> ImageHeader::write(File& file, const Header& changed) {
  HeaderLayout raw;
  std::memcpy(&raw, sector_.data(), sizeof raw);
  raw.refcount_table_offset = changed.refcount_table_offset;
  raw.refcount_table_clusters = changed.refcount_table_clusters;
  if (changed.version >= 3) {
    raw.incompatible = changed.incompatible;
    raw.autoclear = changed.autoclear;
  }
  auto sector = sector_;
  std::memcpy(sector.data(), &raw, sizeof raw);
  CO_TRY_VOID(co_await write_exactly(file, 0, sector));
  CO_TRY_VOID(co_await file.flush());
  sector_ = sector;
  header_ = changed;
  co_return {};
}

}  // namespace hull::blockcore::qcow2

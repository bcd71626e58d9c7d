// <disk>: in the order in which the guest will number them.
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <span>
#include <tuple>

#include "config/network_source.h"
#include "config/reader_parts.h"
#include "config/validate.h"
#include "config/values.h"

namespace hull::config {

namespace {

struct DiskDraft {
  DiskConfig config;
  const XmlElement* element;
  bool cdrom = false;
  size_t prefix_rank = 0;
  unsigned index = 0;
  size_t position = 0;  // in the document

  auto order() const { return std::tuple(prefix_rank, index, position); }
};

// Path in source/@file or @dev, as the type says; empty if there is none.
std::string_view source_path(const XmlElement* source, std::string_view type) {
  if (source == nullptr) return {};
  return source->value(type == "block" ? "dev" : "file");
}

bool is_nbd_source(const XmlElement* source) {
  return source != nullptr && source->value("protocol") == "nbd";
}

// The URL of a source with protocol nbd; with a finding if it names no server.
std::string nbd_source(const XmlElement& source, Findings& findings) {
  const std::string_view tls = source.value("tls");
  if (tls == "yes") findings.report_computed(source, "tls", "~nbd");
  if (const XmlElement* reconnect = source.child("reconnect"))
    findings.report_computed(*reconnect, {}, "~nbd");
  const std::string_view name = source.value("name");
  const XmlElement* host = source.child("host");
  if (host == nullptr) {
    findings.invalid(source, {}, "has no <host>");
    return nbd_url_over_tcp({}, 0, name);
  }
  const std::string_view transport = host->value("transport", "tcp");
  if (transport == "unix") return nbd_url_over_unix(host->value("socket"), name);
  if (transport != "tcp") findings.invalid(*host, "transport", "is neither tcp nor unix");
  const auto port = read_number(*host, "port", 1, UINT16_MAX, findings);
  return nbd_url_over_tcp(host->value("name"), static_cast<uint16_t>(port.value_or(0)), name);
}

// What DiskConfig::file and BackingLevel::file hold; where a finding says why there is nothing,
// something about which validate() has nothing to say.
std::string source_image(const XmlElement* source, std::string_view type, Findings& findings) {
  if (type == "network" && is_nbd_source(source)) return nbd_source(*source, findings);
  const std::string_view path = source_path(source, type);
  if (is_nbd_url(path)) {  // a file is a file, whatever its name looks like
    findings.invalid(*source, type == "block" ? "dev" : "file",
                     "is not an absolute path (an NBD server needs type='network')");
    return fmt::format("/{}", path.substr(0, kMaxPathBytes - 1));
  }
  return std::string(path);
}

// Kinds that hull cannot present have been refused; after --ignore they are left out.
bool is_presentable(const XmlElement& disk, Findings& findings) {
  const std::string_view type = disk.value("type", "file");
  const std::string_view device = disk.value("device", "disk");
  const XmlElement* source = disk.child("source");
  const bool empty = type == "network" ? source == nullptr : source_path(source, type).empty();
  if (device == "floppy" && !empty) findings.report_computed(disk, "device", "~floppy with media");
  const bool nbd = type == "network" && is_nbd_source(source);
  const bool empty_drive = empty && device != "disk";
  if (type == "network" && !nbd && !empty_drive) findings.report_computed(disk, "type", "~not nbd");
  if (type != "file" && type != "block" && !nbd) return false;
  return device == "disk" || (device == "cdrom" && !empty);
}

bool is_optional_and_absent(const XmlElement& disk, const std::string& file, Findings& findings) {
  const XmlElement* source = disk.child("source");
  if (source == nullptr || source->value("startupPolicy") != "optional" || is_nbd_url(file))
    return false;
  if (::access(file.c_str(), F_OK) == 0 || errno != ENOENT) return false;
  findings.report_computed(*source, {}, "~optional and absent", file);
  return true;
}

// Words that the table does not list have been refused: the default stands in for them.
template <class Value>
void choose(const XmlElement& element, std::string_view attribute,
            Result<Value> (*parse)(std::string_view), Value& value) {
  const std::string* text = element.attribute(attribute);
  if (text == nullptr) return;
  if (const auto parsed = parse(*text)) value = *parsed;
}

// libvirt numbers as many threads as <iothreads> says: those of <iothreadids> have their ids, the
// others the lowest that are left.
bool has_iothread(const XmlElement& root, uint64_t id) {
  const XmlElement* iothreads = root.child("iothreads");
  const XmlElement* named = root.child("iothreadids");
  const uint64_t count =
      iothreads == nullptr ? 0 : parse_document_number(iothreads->trimmed_text()).value_or(0);
  std::set<uint64_t> ids;
  if (named != nullptr)
    for (const XmlElement* thread : named->children_named("iothread"))
      if (const auto number = parse_document_number(thread->value("id"))) ids.insert(*number);
  if (ids.contains(id)) return true;
  const auto lower = static_cast<uint64_t>(std::distance(ids.begin(), ids.lower_bound(id)));
  return count > ids.size() && id - lower <= count - ids.size();
}

void read_iothread(const XmlElement& root, const XmlElement& driver, DiskConfig& config,
                   Findings& findings) {
  const auto id = read_number(driver, "iothread", 1, UINT32_MAX, findings);
  if (!id) return;
  if (!has_iothread(root, *id))
    findings.invalid(driver, "iothread", fmt::format("there is no I/O thread {}", *id));
  config.iothread = static_cast<unsigned>(*id);
}

void read_driver(const XmlElement& root, const XmlElement& disk, DiskConfig& config,
                 Findings& findings) {
  const XmlElement* driver = disk.child("driver");
  if (driver == nullptr) return;
  choose(*driver, "type", parse_disk_format, config.format);
  choose(*driver, "cache", parse_cache_mode, config.cache);
  choose(*driver, "discard", parse_discard, config.discard);
  choose(*driver, "detect_zeroes", parse_detect_zeroes, config.detect_zeroes);
  if (read_number(*driver, "queues", 1, kMaxQueues, findings).value_or(1) > 1)
    findings.report_computed(*driver, "queues", "~several");
  if (const auto size = read_number(*driver, "queue_size", kMinQueueSize, kMaxQueueSize, findings))
    config.queue_size = static_cast<unsigned>(*size);
  read_iothread(root, *driver, config, findings);
  const XmlElement* metadata_cache = driver->child("metadata_cache");
  if (metadata_cache == nullptr) return;
  if (const XmlElement* size = metadata_cache->child("max_size"))
    if (const auto bytes = read_size(*size, {}, "bytes", findings))
      config.metadata_cache_bytes = *bytes;
}

void read_level(const XmlElement& store, std::vector<BackingLevel>& levels, Findings& findings) {
  BackingLevel level;
  const XmlElement* source = store.child("source");
  if (store.value("type") == "network" && !is_nbd_source(source))
    findings.report_computed(store, "type", "~not nbd");
  level.file = source_image(source, store.value("type"), findings);
  level.encryption = read_encryption(nullptr, source, findings);
  const XmlElement* format = store.child("format");
  if (format == nullptr || format->attribute("type") == nullptr)
    findings.invalid(store, {}, "has no <format type=…>: the format is never guessed");
  else
    choose(*format, "type", parse_disk_format, level.format);
  levels.push_back(std::move(level));
}

// An empty <backingStore/> ends the chain; so does a raw image, which has no backing file.
void read_backing_store(const XmlElement& disk, DiskConfig& config, Findings& findings) {
  const XmlElement* store = disk.child("backingStore");
  if (store == nullptr) return;
  config.backing.emplace();
  while (store->attribute("type") != nullptr) {
    read_level(*store, *config.backing, findings);
    const XmlElement* next = store->child("backingStore");
    if (next == nullptr && config.backing->back().format != DiskFormat::kRaw)
      findings.invalid(*store, {}, "has no <backingStore/> that ends the chain");
    if (next == nullptr) return;
    store = next;
  }
  if (store->child("source") != nullptr || store->child("format") != nullptr)
    findings.invalid(*store, {}, "has no type");
}

void read_serial(const XmlElement& serial, DiskConfig& config, Findings& findings) {
  const std::string_view text = serial.trimmed_text();
  config.serial = text.substr(0, kMaxDiskSerialBytes);
  if (text.size() > kMaxDiskSerialBytes)
    findings.report_computed(serial, {}, "~too long",
                             fmt::format("the guest sees '{}'", config.serial));
}

void read_device(const XmlElement& root, const XmlElement& disk, DiskConfig& config,
                 Findings& findings) {
  config.cdrom = disk.value("device") == "cdrom";
  config.read_only = disk.child("readonly") != nullptr || config.cdrom;
  config.shareable = disk.child("shareable") != nullptr;
  config.transient = disk.child("transient") != nullptr;
  config.boot_order = read_boot_order(disk, root, findings);
  if (const XmlElement* serial = disk.child("serial")) read_serial(*serial, config, findings);
  const XmlElement* blockio = disk.child("blockio");
  if (blockio == nullptr) return;
  const auto size = [&](std::string_view name, uint32_t fallback) {
    return static_cast<uint32_t>(
        read_number(*blockio, name, 0, UINT32_MAX, findings).value_or(fallback));
  };
  if (const uint32_t logical = size("logical_block_size", 0)) config.logical_block_size = logical;
  const uint32_t physical = size("physical_block_size", 0);
  config.physical_block_size = std::max(config.logical_block_size, physical);
}

std::optional<DiskDraft> read_disk(const XmlElement& root, const XmlElement& disk,
                                   Findings& findings) {
  if (const XmlElement* iotune = disk.child("iotune"); iotune && iotune->child("group_name"))
    findings.report_computed(*iotune, {}, "~group");
  if (!is_presentable(disk, findings)) return std::nullopt;
  DiskDraft draft{.config = {}, .element = &disk};
  draft.cdrom = disk.value("device") == "cdrom";
  draft.config.file = source_image(disk.child("source"), disk.value("type", "file"), findings);
  if (is_optional_and_absent(disk, draft.config.file, findings)) return std::nullopt;
  const XmlElement* target = disk.child("target");
  if (target == nullptr || target->attribute("dev") == nullptr) {
    findings.invalid(disk, {}, "has no <target dev=…>");
    return std::nullopt;
  }
  draft.config.target = target->value("dev");
  read_driver(root, disk, draft.config, findings);
  read_backing_store(disk, draft.config, findings);
  read_device(root, disk, draft.config, findings);
  draft.config.encryption =
      read_encryption(disk.child("encryption"), disk.child("source"), findings);
  return draft;
}

// vd first, then the other prefixes as the document has them, each in the order of its letters.
void order_disks(std::vector<DiskDraft>& drafts) {
  std::vector<std::string_view> prefixes = {"vd"};
  for (DiskDraft& draft : drafts) {
    const auto name = parse_target_name(draft.config.target);
    const std::string_view prefix = name ? name->prefix : "";
    auto place = std::ranges::find(prefixes, prefix);
    if (place == prefixes.end()) place = prefixes.insert(place, prefix);
    draft.prefix_rank = static_cast<size_t>(place - prefixes.begin());
    draft.index = name ? name->index : 0;
    draft.position = static_cast<size_t>(&draft - drafts.data());
  }
  std::ranges::sort(drafts, {}, &DiskDraft::order);
}

void report_bus(const DiskDraft& draft, size_t position, Findings& findings) {
  const XmlElement& target = *draft.element->child("target");
  const std::string* bus = target.attribute("bus");
  const std::string seen = "guest sees /dev/" + virtio_disk_name(position);
  if (draft.cdrom) {
    if (bus != nullptr)
      findings.report_computed(target, "bus", "~cdrom", seen);
    else
      findings.report_computed(*draft.element, "device", "~cdrom", seen);
  } else if (bus != nullptr && *bus != "virtio") {
    findings.report_computed(target, "bus", "~not virtio", seen);
  } else if (bus == nullptr && !draft.config.target.starts_with("vd")) {
    findings.report_computed(target, "dev", "~bus inferred", seen);
  }
}

}  // namespace

void read_disks(const XmlElement& root, DomainConfig& config,
                std::vector<const XmlElement*>& places, Findings& findings) {
  const XmlElement* devices = root.child("devices");
  if (devices == nullptr) return;
  const auto elements = devices->children_named("disk");
  std::vector<DiskDraft> drafts;
  for (const XmlElement* element : elements)
    if (auto draft = read_disk(root, *element, findings)) drafts.push_back(*std::move(draft));
  order_disks(drafts);
  for (size_t position = 0; position < drafts.size(); ++position) {
    report_bus(drafts[position], position, findings);
    places.push_back(drafts[position].element);
    config.disks.push_back(std::move(drafts[position].config));
  }
}

}  // namespace hull::config

// Values of <disk> and <interface>.
#include "config/value_rows.h"

namespace hull::config {

namespace {

using enum ValueKind;

constexpr ValueRow kRows[] = {
    {"/domain/devices/interface", "virtualport/@type", kWords,
     "802.1Qbg|802.1Qbh|midonet|none|openvswitch"},
    {"/domain/devices/interface", "vlan/tag/@nativeMode", kWords, "tagged|untagged"},
    {"/domain/devices/interface", "ip/@family route/@family", kWords, "ipv4|ipv6"},
    {"/domain/devices/interface", "route/@address route/@gateway", kAddress},
    {"/domain/devices/interface", "tune/sndbuf coalesce/rx/frames/@max", kNumber},
    {"/domain/devices/disk", "@rawio backingStore/source/@tls", kYesNo},
    {"/domain/devices/disk", "@sgio", kWords, "filtered|unfiltered"},
    {"/domain/devices/disk", "driver/@copy_on_read", kOnOff},
    {"/domain/devices/disk", "backingStore/source/@startupPolicy", kWords,
     "mandatory|optional|requisite"},
    {"/domain/devices/disk", "vendor", kAtMostCharacters, "8"},
    {"/domain/devices/disk", "geometry/@cyls geometry/@heads geometry/@secs", kInteger},
    {"/domain/devices/disk",
     "acpi/@index backingStore/format/metadata_cache/max_size "
     "backingStore/source/slices/slice/@offset backingStore/source/slices/slice/@size "
     "iotune/read_bytes_sec iotune/read_bytes_sec_max iotune/read_bytes_sec_max_length "
     "iotune/read_iops_sec iotune/read_iops_sec_max iotune/read_iops_sec_max_length "
     "iotune/size_iops_sec iotune/total_bytes_sec iotune/total_bytes_sec_max "
     "iotune/total_bytes_sec_max_length iotune/total_iops_sec iotune/total_iops_sec_max "
     "iotune/total_iops_sec_max_length iotune/write_bytes_sec iotune/write_bytes_sec_max "
     "iotune/write_bytes_sec_max_length iotune/write_iops_sec iotune/write_iops_sec_max "
     "iotune/write_iops_sec_max_length source/@namespace source/readahead/@size "
     "source/slices/slice/@offset source/slices/slice/@size source/timeout/@seconds "
     "target/@rotation_rate",
     kNumber},
    {"/domain/devices/disk", "backingStore/format/metadata_cache/max_size/@unit", kUnit},
    {"/domain/devices/disk", "source/auth/secret/@uuid", kUuid},
    {"/domain/devices/disk", "geometry/@trans", kWords, "auto|lba|none"},
    {"/domain/devices/disk", "source/reservations/source/@mode", kWords, "client|server"},
    {"/domain/devices/disk", "target/@tray", kWords, "closed|open"},
    {"/domain/devices/disk", "@model", kWords,
     "default|virtio|virtio-non-transitional|virtio-transitional"},
    {"/domain/devices/disk", "source/@mode", kWords, "direct|host"},
    {"/domain/devices/disk", "@snapshot", kWords, "external|internal|manual|no"},
    {"/domain/devices/disk", "target/@bus", kWords, "fdc|ide|nvme|sata|scsi|sd|uml|usb|virtio|xen"},
    {"/domain/devices/disk", "backingStore/source/@protocol", kWords,
     "ftp|ftps|gluster|http|https|iscsi|nbd|nfs|none|rbd|sheepdog|tftp|vxhs"},
    {"/domain/devices/disk", "source/@protocol", kWords,
     "ftp|ftps|gluster|http|https|iscsi|nbd|nfs|rbd|sheepdog|tftp|vxhs"},
    {"/domain/devices/disk", "driver/@io", kWords, "io_uring|native|threads"},
    {"/domain/devices/disk",
     "backingStore/source/seclabel/@relabel source/@managed source/@tls "
     "source/reservations/@managed source/seclabel/@relabel source/ssl/@verify "
     "transient/@shareBacking",
     kYesNo},
    {"/domain/devices/disk", "target/@removable", kOnOff},
    {"/domain/devices/disk", "source/host/@transport", kWords, "rdma|tcp|unix"},
    {"/domain/devices/disk", "source/reservations/source/@type", kWords, "unix"},
    {"/domain/devices/disk", "wwn", kWwn},
    {"/domain/devices/interface",
     "ip/@address source/@address source/ip/@address source/ip/@peer source/local/@address "
     "source/route/@address source/route/@gateway",
     kAddress},
    {"/domain/devices/interface", "source/@port source/local/@port", kInteger},
    {"/domain/devices/interface",
     "acpi/@index bandwidth/inbound/@average bandwidth/inbound/@burst bandwidth/inbound/@floor "
     "bandwidth/inbound/@peak bandwidth/outbound/@average bandwidth/outbound/@burst "
     "bandwidth/outbound/@peak driver/@rx_queue_size driver/@tx_queue_size ip/@prefix "
     "source/ip/@prefix source/route/@prefix virtualport/parameters/@managerid "
     "virtualport/parameters/@typeid virtualport/parameters/@typeidversion vlan/tag/@id",
     kNumber},
    {"/domain/devices/interface",
     "virtualport/parameters/@instanceid virtualport/parameters/@interfaceid", kUuid},
    {"/domain/devices/interface", "source/@mode", kWords,
     "bridge|client|passthrough|private|server|vepa"},
    {"/domain/devices/interface", "mac/@type", kWords, "generated|static"},
    {"/domain/devices/interface", "driver/@txmode", kWords, "iothread|timer"},
    {"/domain/devices/interface", "source/route/@family", kWords, "ipv4|ipv6"},
    {"/domain/devices/interface", "driver/@name", kWords, "kvm|qemu|vfio|vhost|xen"},
    {"/domain/devices/interface", "@trustGuestRxFilters mac/@check port/@isolated", kYesNo},
    {"/domain/devices/interface",
     "driver/@rss driver/@rss_hash_report driver/guest/@csum driver/guest/@ecn driver/guest/@tso4 "
     "driver/guest/@tso6 driver/guest/@ufo driver/host/@csum driver/host/@ecn driver/host/@gso "
     "driver/host/@mrg_rxbuf driver/host/@tso4 driver/host/@tso6 driver/host/@ufo",
     kOnOff},
    {"/domain/devices/interface", "vlan/@trunk", kWords, "yes"},
};

}  // namespace

std::span<const ValueRow> disk_values() { return kRows; }

}  // namespace hull::config

// Ways into and out of KVM's interrupt controllers and buses, on a real KVM.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <thread>

#include "tests/support/board_fixture.h"
#include "vmm/gsi_routes.h"
#include "vmm/interrupt_lines.h"
#include "vmm/x86/kvm_cpu.h"
#include "vmm/x86/routes.h"

namespace hull::vmm {
namespace {

using hull::testing::BoardMachine;
using hull::testing::expect_value;

constexpr uint64_t kMsiToApic0 = 0xfee00000;

// A processor whose local APIC takes interrupts; nobody runs it.
class Interrupts : public ::testing::Test {
 protected:
  void SetUp() override {
    kvm_lapic_state state = expect_value(x86::get_lapic(vcpu_));
    state.regs[0xf0] = static_cast<char>(0xff);  // spurious vector
    state.regs[0xf1] = 1;                        // enabled
    ASSERT_TRUE(x86::set_lapic(vcpu_, state));
  }
  bool requested(uint8_t vector) {
    const kvm_lapic_state state = expect_value(x86::get_lapic(vcpu_));
    const size_t offset = 0x200 + vector / 32 * 0x10 + vector % 32 / 8;
    return (static_cast<uint8_t>(state.regs[offset]) >> vector % 8 & 1) != 0;
  }
  // Interrupts by descriptor come through the kernel's work queue.
  bool requested_soon(uint8_t vector) {
    for (int i = 0; i < 6000 && !requested(vector); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return requested(vector);
  }

  BoardMachine machine_;
  Vcpu vcpu_ = expect_value(machine_.vm.create_vcpu(0));
};

TEST_F(Interrupts, MessageReachesTheLocalApic) {
  VmMsiSink sink(machine_.vm);
  EXPECT_FALSE(requested(0x61));
  sink.signal({.address = kMsiToApic0, .data = 0x61});
  EXPECT_TRUE(requested(0x61));
}

// The guest chooses both: whatever it says, nothing but its own interrupt is lost.
TEST_F(Interrupts, HostileMessagesAreLost) {
  VmMsiSink sink(machine_.vm);
  for (const uint64_t address : {uint64_t{0}, uint64_t{0xfee77000}, ~uint64_t{0}, kMsiToApic0})
    for (const uint32_t data : {0u, 0x0fu, 0xffffffffu, 0x700u}) sink.signal({address, data});
  EXPECT_FALSE(requested(0x62));
}

TEST_F(Interrupts, RouteToAMessageHasADescriptor) {
  GsiRoutes routes(machine_.vm, x86::default_routes());
  const uint32_t first = expect_value(routes.add({.address = kMsiToApic0, .data = 0x63}));
  const uint32_t second = expect_value(routes.add({.address = kMsiToApic0, .data = 0x64}));
  EXPECT_EQ(first, 24u);
  EXPECT_EQ(second, 25u);
  ASSERT_TRUE(routes.commit());
  const auto line = expect_value(IrqfdLine::create(machine_.vm, second));
  line->trigger();
  EXPECT_TRUE(requested_soon(0x64));
  EXPECT_FALSE(requested(0x63));

  routes.set(second, {.address = kMsiToApic0, .data = 0x65});
  ASSERT_TRUE(routes.commit());
  line->trigger();
  EXPECT_TRUE(requested_soon(0x65));

  ASSERT_TRUE(machine_.vm.disconnect_irqfd(line->event_fd(), second));
  routes.remove(first);
  EXPECT_EQ(expect_value(routes.add({})), first);
}

// The table is replaced whole: the lines of the PIC and the I/O APIC must be in it.
TEST_F(Interrupts, RoutesKeepTheLinesOfTheBoard) {
  GsiRoutes routes(machine_.vm, x86::default_routes());
  ASSERT_TRUE(routes.add({.address = kMsiToApic0, .data = 0x63}));
  ASSERT_TRUE(routes.commit());
  kvm_irqchip io_apic{};
  io_apic.chip_id = KVM_IRQCHIP_IOAPIC;
  ASSERT_EQ(::ioctl(machine_.vm.fd(), KVM_GET_IRQCHIP, &io_apic), 0);
  for (const uint32_t pin : {4u, 20u}) {
    io_apic.chip.ioapic.redirtbl[pin].bits = 0x40 + pin;  // edge, fixed, to APIC 0, not masked
  }
  ASSERT_EQ(::ioctl(machine_.vm.fd(), KVM_SET_IRQCHIP, &io_apic), 0);
  for (const uint32_t pin : {4u, 20u}) {
    ASSERT_TRUE(machine_.vm.set_irq_level(pin, true));
    ASSERT_TRUE(machine_.vm.set_irq_level(pin, false));
    EXPECT_TRUE(requested_soon(static_cast<uint8_t>(0x40 + pin))) << pin;
  }
}

TEST_F(Interrupts, TooManyRoutesAreAnError) {
  GsiRoutes routes(machine_.vm, x86::default_routes());
  size_t added = 0;
  while (routes.add({})) ++added;
  EXPECT_EQ(added + x86::default_routes().size(), GsiRoutes::kMaxRoutes);
  ASSERT_TRUE(routes.commit());
}

TEST_F(Interrupts, IoEventsComeAndGo) {
  const EventFd event = expect_value(EventFd::create());
  for (const IoEvent& io :
       {IoEvent{.event_fd = event.fd(), .address = 0xd0000050},
        IoEvent{.event_fd = event.fd(), .address = 0xd0000050, .length = 2},
        IoEvent{.event_fd = event.fd(), .address = 0xd0000050, .length = 4, .value = 7},
        IoEvent{.event_fd = event.fd(), .address = 0x1234, .length = 1, .port = true}}) {
    ASSERT_TRUE(machine_.vm.connect(io));
    EXPECT_FALSE(machine_.vm.connect(io));  // it is there
    ASSERT_TRUE(machine_.vm.disconnect(io));
    EXPECT_FALSE(machine_.vm.disconnect(io));
  }
}

// Real mode, from address 0: what a driver does, without leaving the kernel.
TEST(IoEvents, AWriteOfAnyWidthSignals) {
  BoardMachine machine({
      0xba, 0x34, 0x12,  // mov dx, 0x1234
      0xee,              // out dx, al
      0xef,              // out dx, ax
      0xba, 0x78, 0x56,  // mov dx, 0x5678
      0xee,              // out dx, al: leaves the kernel
  });
  const EventFd event = expect_value(EventFd::create());
  ASSERT_TRUE(machine.vm.connect({.event_fd = event.fd(), .address = 0x1234, .port = true}));
  Vcpu vcpu = expect_value(machine.vm.create_vcpu(0));
  kvm_sregs sregs = expect_value(x86::get_sregs(vcpu));
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  ASSERT_TRUE(x86::set_sregs(vcpu, sregs));
  kvm_regs regs{};
  regs.rflags = 2;
  ASSERT_TRUE(x86::set_regs(vcpu, regs));
  while (!expect_value(vcpu.enter())) {
  }
  ASSERT_EQ(vcpu.run_state().exit_reason, static_cast<uint32_t>(KVM_EXIT_IO));
  EXPECT_EQ(vcpu.run_state().io.port, 0x5678);
  uint64_t signals = 0;
  ASSERT_EQ(::read(event.fd(), &signals, sizeof signals), static_cast<ssize_t>(sizeof signals));
  EXPECT_EQ(signals, 2u);
}

}  // namespace
}  // namespace hull::vmm

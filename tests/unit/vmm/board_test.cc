// The board on a real KVM, without a guest: its devices, and its state out of one machine and into
// another.
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <vector>

#include "tests/support/board_fixture.h"
#include "vmm/x86/kvm_cpu.h"
#include "vmm/x86/vcpu_state.h"

namespace hull::vmm {
namespace {

using hull::testing::BoardMachine;
using hull::testing::expect_value;

uint8_t in(BoardMachine& machine, uint16_t port) {
  devices::Bus::Initiator cpu(machine.ports);
  uint8_t value = 0;
  cpu.read(port, {&value, 1});
  return value;
}

void out(BoardMachine& machine, uint16_t port, uint8_t value) {
  devices::Bus::Initiator cpu(machine.ports);
  EXPECT_TRUE(cpu.write(port, {&value, 1}));
}

TEST(Board, DevicesAnswerAtTheirPorts) {
  BoardMachine machine;
  EXPECT_EQ(in(machine, 0x3fd), 0x60);  // LSR: the transmitter is empty
  EXPECT_NE(in(machine, 0x604), 0xff);  // SCI_EN
  EXPECT_EQ(in(machine, 0x64), 0x10);   // keyboard: not locked
  out(machine, 0x70, 0x0d);
  EXPECT_EQ(in(machine, 0x71), 0x80);  // the clock's time is valid
  EXPECT_EQ(in(machine, 0xf4), 0xff);  // no debug port
  out(machine, 0xcf9, 0x06);
  EXPECT_EQ(machine.events.resets, 1u);
}

// IRQ 8 is the first of the second PIC.
bool clock_is_requested(BoardMachine& machine) {
  kvm_irqchip pic{};
  pic.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  EXPECT_EQ(::ioctl(machine.vm.fd(), KVM_GET_IRQCHIP, &pic), 0);
  return (pic.chip.pic.irr & 1) != 0;
}

// The alarm goes from the device's registers through the event loop to the interrupt controller.
TEST(Board, ClockInterruptsThroughTheEventLoop) {
  BoardMachine machine;
  out(machine, 0x70, 0x0a);
  out(machine, 0x71, 0x2f);  // 2 Hz
  out(machine, 0x70, 0x0b);
  out(machine, 0x71, 0x42);  // periodic interrupt, 24 hours
  for (int tries = 0; tries < 600; ++tries) {
    machine.loop.call_after(std::chrono::milliseconds(100), [&] { machine.loop.stop(); });
    ASSERT_TRUE(machine.loop.run());
    if (clock_is_requested(machine)) break;
  }
  EXPECT_TRUE(clock_is_requested(machine));
  out(machine, 0x70, 0x0c);
  EXPECT_EQ(in(machine, 0x71) & 0xc0, 0xc0);
}

TEST(Board, StateGoesIntoAnotherMachine) {
  BoardMachine machine;
  out(machine, 0x3ff, 0x5a);  // the serial port's scratch register
  out(machine, 0x70, 0x40);
  out(machine, 0x71, 0x77);  // CMOS memory
  kvm_irqchip io_apic{};
  io_apic.chip_id = KVM_IRQCHIP_IOAPIC;
  ASSERT_EQ(::ioctl(machine.vm.fd(), KVM_GET_IRQCHIP, &io_apic), 0);
  io_apic.chip.ioapic.redirtbl[4].fields.vector = 0x54;
  ASSERT_EQ(::ioctl(machine.vm.fd(), KVM_SET_IRQCHIP, &io_apic), 0);
  kvm_pit_state2 pit{};
  ASSERT_EQ(::ioctl(machine.vm.fd(), KVM_GET_PIT2, &pit), 0);
  pit.channels[2].count = 0x1234;
  ASSERT_EQ(::ioctl(machine.vm.fd(), KVM_SET_PIT2, &pit), 0);
  kvm_clock_data clock{};
  clock.clock = 3'600'000'000'000;
  ASSERT_EQ(::ioctl(machine.vm.fd(), KVM_SET_CLOCK, &clock), 0);
  StateWriter writer;
  const auto saved = machine.board->save(writer);
  ASSERT_TRUE(saved) << saved.error().message();
  const std::vector<uint8_t> bytes = std::move(writer).finish();

  BoardMachine other;
  StateReader reader(bytes);
  const auto loaded = other.board->load(reader);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_TRUE(reader.end());
  EXPECT_EQ(in(other, 0x3ff), 0x5a);
  EXPECT_EQ(in(other, 0x71), 0x77);
  kvm_irqchip restored{};
  restored.chip_id = KVM_IRQCHIP_IOAPIC;
  ASSERT_EQ(::ioctl(other.vm.fd(), KVM_GET_IRQCHIP, &restored), 0);
  EXPECT_EQ(restored.chip.ioapic.redirtbl[4].fields.vector, 0x54);
  ASSERT_EQ(::ioctl(other.vm.fd(), KVM_GET_PIT2, &pit), 0);
  EXPECT_EQ(pit.channels[2].count, 0x1234u);
  kvm_clock_data now{};
  ASSERT_EQ(::ioctl(other.vm.fd(), KVM_GET_CLOCK, &now), 0);
  EXPECT_GE(now.clock, clock.clock);
}

TEST(Board, StateOfAnotherMachineIsAnError) {
  BoardMachine machine;
  StateWriter writer;
  ASSERT_TRUE(machine.board->save(writer));
  std::vector<uint8_t> bytes = std::move(writer).finish();
  for (const size_t length : {size_t{0}, size_t{5}, size_t{100}, bytes.size() - 1}) {
    StateReader reader(std::span<const uint8_t>(bytes).first(length));
    EXPECT_FALSE(machine.board->load(reader)) << length;
  }
}

TEST(Board, AGuestWithNestingIsNotSaved) {
  BoardMachine machine;
  machine.domain.required_cpu_features = {"svm"};
  StateWriter writer;
  const auto saved = machine.board->save(writer);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().kind(), ErrorKind::kUnsupported);
}

// Linux, Documentation/virt/kvm/x86/msr.rst: MSR_KVM_SYSTEM_TIME_NEW, struct
// pvclock_vcpu_time_info and its flag "guest vcpu has been paused by the host".
TEST(VcpuState, GuestLearnsFromItsClockThatItStoodStill) {
  constexpr uint32_t kSystemTimeMsr = 0x4b564d01;
  constexpr GuestAddress kFlags{0x1000 + 29};
  constexpr uint8_t kWasPaused = 1 << 1;
  BoardMachine machine({0xe6, 0x99, 0xe6, 0x99});  // out 0x99, al, twice
  Vcpu vcpu = expect_value(machine.vm.create_vcpu(0));
  ASSERT_TRUE(x86::set_cpuid(vcpu, expect_value(x86::supported_cpuid(machine.kvm))));
  kvm_sregs sregs = expect_value(x86::get_sregs(vcpu));
  sregs.cs.selector = 0;
  sregs.cs.base = 0;
  ASSERT_TRUE(x86::set_sregs(vcpu, sregs));
  kvm_regs regs{};
  regs.rflags = 2;
  ASSERT_TRUE(x86::set_regs(vcpu, regs));
  arch::Board::say_it_stood_still(vcpu);  // it has no such clock yet
  ASSERT_TRUE(expect_value(x86::set_msr(vcpu, kSystemTimeMsr, 0x1000 | 1)));
  const auto flags = [&] { return machine.memory.slice(kFlags, 1)->read<uint8_t>(0); };
  ASSERT_TRUE(expect_value(vcpu.enter()));
  ASSERT_EQ(vcpu.run_state().exit_reason, static_cast<uint32_t>(KVM_EXIT_IO));
  EXPECT_EQ(flags() & kWasPaused, 0);
  arch::Board::say_it_stood_still(vcpu);
  ASSERT_TRUE(expect_value(vcpu.enter()));
  EXPECT_EQ(flags() & kWasPaused, kWasPaused);
}

TEST(VcpuState, EverythingGoesIntoAnotherProcessor) {
  BoardMachine machine;
  Vcpu vcpu = expect_value(machine.vm.create_vcpu(0));
  const x86::CpuidTable cpuid = expect_value(x86::supported_cpuid(machine.kvm));
  ASSERT_TRUE(x86::set_cpuid(vcpu, cpuid));
  kvm_regs regs{};
  regs.rax = 0x1122334455667788;
  regs.r15 = 0x99;
  regs.rip = 0x1234;
  regs.rflags = 0x202;
  ASSERT_TRUE(x86::set_regs(vcpu, regs));
  kvm_sregs sregs = expect_value(x86::get_sregs(vcpu));
  sregs.cs.selector = 0x10;
  sregs.cs.base = 0x100;
  sregs.cr2 = 0xabcd000;
  ASSERT_TRUE(x86::set_sregs(vcpu, sregs));
  kvm_lapic_state lapic = expect_value(x86::get_lapic(vcpu));
  lapic.regs[0x80] = 0x20;  // task priority
  lapic.regs[0xf1] = 1;     // enabled
  ASSERT_TRUE(x86::set_lapic(vcpu, lapic));
  constexpr uint32_t kKernelGsBase = 0xc0000102, kSysenterEip = 0x176;
  ASSERT_TRUE(expect_value(x86::set_msr(vcpu, kKernelGsBase, 0xffff888000000000)));
  ASSERT_TRUE(expect_value(x86::set_msr(vcpu, kSysenterEip, 0xffffffff81000000)));
  x86::XsaveArea xsave{};
  ASSERT_EQ(::ioctl(vcpu.fd(), x86::kGetXsave, &xsave), 0);
  xsave.region[0] = 0x0f7f;       // FCW, FSW
  xsave.region[40] = 0x5a5a5a5a;  // XMM0
  xsave.region[128] |= 3;         // XSTATE_BV: x87 and SSE are there
  ASSERT_EQ(::ioctl(vcpu.fd(), x86::kSetXsave, &xsave), 0);
  kvm_debugregs debug{};
  ASSERT_EQ(::ioctl(vcpu.fd(), KVM_GET_DEBUGREGS, &debug), 0);
  debug.db[1] = 0x4321;
  ASSERT_EQ(::ioctl(vcpu.fd(), KVM_SET_DEBUGREGS, &debug), 0);
  kvm_mp_state halted{.mp_state = KVM_MP_STATE_HALTED};
  ASSERT_EQ(::ioctl(vcpu.fd(), KVM_SET_MP_STATE, &halted), 0);

  StateWriter writer;
  const auto saved = machine.board->save_vcpu(vcpu, writer);
  ASSERT_TRUE(saved) << saved.error().message();
  const std::vector<uint8_t> bytes = std::move(writer).finish();

  BoardMachine other;
  Vcpu copy = expect_value(other.vm.create_vcpu(0));
  ASSERT_TRUE(x86::set_cpuid(copy, cpuid));
  StateReader reader(bytes);
  const auto loaded = other.board->load_vcpu(copy, reader);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_TRUE(reader.end());
  const kvm_regs got = expect_value(x86::get_regs(copy));
  EXPECT_EQ(got.rax, regs.rax);
  EXPECT_EQ(got.r15, regs.r15);
  EXPECT_EQ(got.rip, regs.rip);
  EXPECT_EQ(got.rflags, regs.rflags);
  const kvm_sregs segments = expect_value(x86::get_sregs(copy));
  EXPECT_EQ(segments.cs.selector, 0x10);
  EXPECT_EQ(segments.cs.base, 0x100u);
  EXPECT_EQ(segments.cr2, sregs.cr2);
  const kvm_lapic_state apic = expect_value(x86::get_lapic(copy));
  EXPECT_EQ(apic.regs[0x80], 0x20);
  EXPECT_EQ(apic.regs[0xf1] & 1, 1);
  EXPECT_EQ(expect_value(x86::get_msr(copy, kKernelGsBase)), 0xffff888000000000);
  EXPECT_EQ(expect_value(x86::get_msr(copy, kSysenterEip)), 0xffffffff81000000);
  x86::XsaveArea fpu{};
  ASSERT_EQ(::ioctl(copy.fd(), x86::kGetXsave, &fpu), 0);
  EXPECT_EQ(fpu.region[0], xsave.region[0]);
  EXPECT_EQ(fpu.region[40], xsave.region[40]);
  ASSERT_EQ(::ioctl(copy.fd(), KVM_GET_DEBUGREGS, &debug), 0);
  EXPECT_EQ(debug.db[1], 0x4321u);
  kvm_mp_state state{};
  ASSERT_EQ(::ioctl(copy.fd(), KVM_GET_MP_STATE, &state), 0);
  EXPECT_EQ(state.mp_state, static_cast<uint32_t>(KVM_MP_STATE_HALTED));
}

TEST(VcpuState, HostileStateIsAnErrorOrAnotherState) {
  BoardMachine machine;
  Vcpu vcpu = expect_value(machine.vm.create_vcpu(0));
  StateWriter writer;
  ASSERT_TRUE(machine.board->save_vcpu(vcpu, writer));
  const std::vector<uint8_t> good = std::move(writer).finish();
  for (size_t length = 0; length < good.size(); length += 97) {
    StateReader reader(std::span<const uint8_t>(good).first(length));
    EXPECT_FALSE(machine.board->load_vcpu(vcpu, reader)) << length;
  }
  uint32_t random = 1;
  for (int i = 0; i < 300; ++i) {
    std::vector<uint8_t> bad = good;
    for (int changes = 0; changes < 8; ++changes) {
      random = random * 1664525 + 1013904223;
      bad[(random >> 8) % bad.size()] = static_cast<uint8_t>(random);
    }
    StateReader reader(bad);
    (void)machine.board->load_vcpu(vcpu, reader);
  }
}

}  // namespace
}  // namespace hull::vmm

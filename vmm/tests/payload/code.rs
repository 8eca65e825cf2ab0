//! Machine code and the ELF file around it. The instructions used mean the same in 32-bit protected mode
//! and in long mode.

/// Where the code is loaded and entered.
const LOAD: u32 = 0x10_0000;
/// The boot page tables' entries for GiBs, and a page for a table that one gets.
const PAGE_DIRECTORIES: u64 = 0xa000;
const TABLE: u64 = 0xc000;

/// Machine code under construction.
#[derive(Default, Clone)]
pub struct Code(Vec<u8>);

impl Code {
    /// Writes `value` to `port`.
    pub fn out(self, port: u16, value: u8) -> Self {
        let [low, high] = port.to_le_bytes();
        // mov dx, port; mov al, value; out dx, al
        self.bytes(&[0x66, 0xba, low, high, 0xb0, value, 0xee])
    }

    /// Writes text to the serial port.
    pub fn print(self, text: &str) -> Self {
        text.bytes().fold(self, |code, byte| code.out(0x3f8, byte))
    }

    /// Switches the machine off (ACPI S5).
    pub fn power_off(self) -> Self {
        self.out(0xbd8, 5 << 2 | 1 << 5).halt()
    }

    /// Reads `port` in 1, 2 and 4 bytes.
    pub fn read_all_ports(self) -> Self {
        // xor edx, edx; again: in al, dx; in ax, dx; in eax, dx; inc dx; jnz again
        self.bytes(&[0x31, 0xd2, 0xec, 0x66, 0xed, 0xed, 0x66, 0xff, 0xc2, 0x75, 0xf7])
    }

    /// Writes `value` to the ports from `start` to `end` in 1, 2 and 4 bytes.
    pub fn write_ports(self, start: u32, end: u32, value: u32) -> Self {
        // mov edx, start; mov eax, value
        let code = self.bytes(&[0xba]).bytes(&start.to_le_bytes());
        let code = code.bytes(&[0xb8]).bytes(&value.to_le_bytes());
        // again: out dx, al; out dx, ax; out dx, eax; inc edx; cmp edx, end; jb again
        let code = code.bytes(&[0xee, 0x66, 0xef, 0xef, 0xff, 0xc2, 0x81, 0xfa]);
        code.bytes(&end.to_le_bytes()).bytes(&[0x72, 0xf2])
    }

    /// Reads every byte from `start` to `end` in 1, 2 and 4 bytes, aligned or not, and writes `value` there
    /// in the same widths. 32-bit code only.
    pub fn touch_memory(self, start: u32, end: u32, value: u32) -> Self {
        // mov esi, start; mov ecx, end; mov ebx, value
        let code = self.bytes(&[0xbe]).bytes(&start.to_le_bytes());
        let code = code.bytes(&[0xb9]).bytes(&end.to_le_bytes());
        let code = code.bytes(&[0xbb]).bytes(&value.to_le_bytes());
        // again: mov al, [esi]; mov ax, [esi]; mov eax, [esi]
        let code = code.bytes(&[0x8a, 0x06, 0x66, 0x8b, 0x06, 0x8b, 0x06]);
        // mov [esi], bl; mov [esi], bx; mov [esi], ebx
        let code = code.bytes(&[0x88, 0x1e, 0x66, 0x89, 0x1e, 0x89, 0x1e]);
        // inc esi; cmp esi, ecx; jb again
        code.bytes(&[0xff, 0xc6, 0x39, 0xce, 0x72, 0xec])
    }

    /// The same in 8 bytes. Long mode only.
    pub fn touch_memory_wide(self, start: u64, end: u64, value: u64) -> Self {
        // mov rsi, start; mov rcx, end; mov rbx, value
        let code = self.bytes(&[0x48, 0xbe]).bytes(&start.to_le_bytes());
        let code = code.bytes(&[0x48, 0xb9]).bytes(&end.to_le_bytes());
        let code = code.bytes(&[0x48, 0xbb]).bytes(&value.to_le_bytes());
        // again: mov rax, [rsi]; mov [rsi], rbx; inc rsi; cmp rsi, rcx; jb again
        code.bytes(&[0x48, 0x8b, 0x06, 0x48, 0x89, 0x1e, 0x48, 0xff, 0xc6, 0x48, 0x39, 0xce, 0x72, 0xf2])
    }

    /// Prints the type of the virtio device at `page`, 64 added: a letter. 32-bit code only.
    pub fn print_type(self, page: u32) -> Self {
        // mov esi, page + 8; mov eax, [esi]; add al, 64; mov dx, 0x3f8; out dx, al
        let code = self.bytes(&[0xbe]).bytes(&(page + 8).to_le_bytes());
        code.bytes(&[0x8b, 0x06, 0x04, 64, 0x66, 0xba, 0xf8, 0x03, 0xee])
    }

    /// Maps the first 2 MiB of the GiB at `address` where they are. Long mode only.
    pub fn map(self, address: u64) -> Self {
        // Present and writable; the second one is a page of 2 MiB.
        let code = self.store(TABLE | 3, PAGE_DIRECTORIES + 8 * (address >> 30));
        // mov rax, cr3; mov cr3, rax
        code.store(address | 0x83, TABLE).bytes(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8])
    }

    /// Stores `value` at `address`. Long mode only.
    fn store(self, value: u64, address: u64) -> Self {
        // mov rax, value; mov [address], rax
        let code = self.bytes(&[0x48, 0xb8]).bytes(&value.to_le_bytes());
        code.bytes(&[0x48, 0xa3]).bytes(&address.to_le_bytes())
    }

    /// Writes `byte` to the serial port for ever.
    pub fn flood(self, byte: u8) -> Self {
        // mov dx, 0x3f8; mov al, byte; again: out dx, al; jmp again
        self.bytes(&[0x66, 0xba, 0xf8, 0x03, 0xb0, byte, 0xee, 0xeb, 0xfd])
    }

    /// Meets an exception without a handler.
    pub fn triple_fault(self) -> Self {
        // The IDT of a fresh vCPU leads to zeroed memory: ud2
        self.bytes(&[0x0f, 0x0b])
    }

    /// Stops.
    pub fn halt(self) -> Self {
        // cli; again: hlt; jmp again
        self.bytes(&[0xfa, 0xf4, 0xeb, 0xfd])
    }

    /// Any instructions.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// An ELF kernel with a PVH note: entered in 32-bit protected mode.
    pub fn pvh(&self) -> Vec<u8> {
        self.elf(18)
    }

    /// An ELF kernel without one: entered in long mode.
    pub fn long_mode(&self) -> Vec<u8> {
        self.elf(17)
    }

    fn elf(&self, note: u32) -> Vec<u8> {
        let size = self.0.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        file.extend(u64::from(LOAD).to_le_bytes());
        file.extend(64u64.to_le_bytes());
        file.extend([0; 12]);
        file.extend([64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        for (kind, offset, size) in [(1u32, 0x200u64, size), (4, 0x100, 20)] {
            file.extend(kind.to_le_bytes());
            file.extend(7u32.to_le_bytes());
            for value in [offset, LOAD.into(), LOAD.into(), size, size, 4] {
                file.extend(value.to_le_bytes());
            }
        }
        file.resize(0x100, 0);
        for word in [4, 4, note, u32::from_le_bytes(*b"Xen\0"), LOAD] {
            file.extend(word.to_le_bytes());
        }
        file.resize(0x200, 0);
        file.extend(&self.0);
        file
    }
}

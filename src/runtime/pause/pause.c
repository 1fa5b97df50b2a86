/* The pause process: what holds a pod's namespaces while its containers come and go. No library, no data: a few KiB per pod instead of a copy of
 * the program. SIGCHLD is ignored before it is executed, so that the kernel reaps what is orphaned to it when it is PID 1 of a shared PID namespace. */
#if defined __x86_64__
static long sleep_forever(void)
{
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(271L), "D"(0L), "S"(0L), "d"(0L) : "rcx", "r11", "memory");
    return r;
}
#elif defined __aarch64__
static long sleep_forever(void)
{
    register long x8 __asm__("x8") = 73, x0 __asm__("x0") = 0, x1 __asm__("x1") = 0, x2 __asm__("x2") = 0, x3 __asm__("x3") = 0;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#elif defined __arm__
static long sleep_forever(void)
{
    register long r7 __asm__("r7") = 336, r0 __asm__("r0") = 0, r1 __asm__("r1") = 0, r2 __asm__("r2") = 0, r3 __asm__("r3") = 0;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3) : "memory");
    return r0;
}
#else
#error "say here how this machine calls ppoll"
#endif

void _start(void);
void _start(void)
{
    for (;;)
        sleep_forever(); /* ppoll(NULL, 0, NULL, NULL) */
}

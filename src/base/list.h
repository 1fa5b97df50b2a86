/* Intrusive doubly linked list, circular, with a head of the same type (as the Linux kernel's and Open vSwitch's).
 * Not thread-safe. A removed node is self-linked, so that removing twice is harmless.
 */
#pragma once
#include "base/base.h"

struct list {
    struct list *prev, *next;
};
#define LIST_INIT(name) {&(name), &(name)}

static inline void list_init(struct list *l) { l->prev = l->next = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_insert(struct list *before, struct list *n)
{
    n->prev = before->prev;
    n->next = before;
    before->prev->next = n;
    before->prev = n;
}
static inline void list_push(struct list *head, struct list *n) { list_insert(head, n); }         /* at the end */
static inline void list_push_front(struct list *head, struct list *n) { list_insert(head->next, n); }
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first(head, type, member) (list_empty(head) ? NULL : list_entry((head)->next, type, member))
#ifdef __CPPCHECK__ /* which cannot follow the other */
#define list_for(head, it, member) for ((it) = (void *)(head)->next; (it); (it) = (void *)(it)->member.next)
#else
#define list_for(head, it, member)                                                                \
    for (__typeof__(it) it##_nx_ = (it = list_entry((head)->next, __typeof__(*it), member),        \
                                    list_entry(it->member.next, __typeof__(*it), member));         \
         &it->member != (head); it = it##_nx_, it##_nx_ = list_entry(it->member.next, __typeof__(*it), member))
#endif
/* list_for is safe against removal of the current element, not of others. `it` is a variable declared before. */

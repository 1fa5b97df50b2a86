/* Macros of outside headers that cppcheck has to know (tools/lint.sh). */
#define mnl_attr_for_each_nested(a, n) for (;;)
#define mnl_attr_for_each(a, n, o) for (;;)

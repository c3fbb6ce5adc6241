// The sources, for `verilator -F` and other tools that read file lists: packages before their users, then modules by name.
-y .
+libext+.sv
pcie_pkg.sv
ntb_pkg.sv

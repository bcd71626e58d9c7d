# fish completion for hull and hull-img; see hull.bash.
complete -c hull -a '(hull complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
complete -c hull-img -a '(hull complete -- img (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
